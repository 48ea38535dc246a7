// Shows the events of /events/ as they come. "done" is the last one; without close() the browser
// would connect again.
const list = document.getElementById("events");
const state = document.getElementById("state");
const source = new EventSource(list.dataset.source);

function end(words) {
  source.close();
  state.textContent = words;
}

source.onopen = () => { state.textContent = "Connected."; };
source.onmessage = (event) => {
  const row = document.createElement("li");
  row.textContent = event.data;
  list.append(row);
};
source.addEventListener("done", (event) => end(`Done: ${event.data}.`));
source.onerror = () => end("The connection is gone.");
