// Owns zoom by click and search in a flame graph; the picture is complete without it.
"use strict";
const svg = document.documentElement, note = document.getElementById("note"), search = document.getElementById("search");
const whole = Number(svg.dataset.whole), plain = note.textContent;
const frames = [...document.querySelectorAll("g.f")].map(node => ({
  node, rect: node.querySelector("rect"), text: node.querySelector("text"),
  x: Number(node.dataset.x), w: Number(node.dataset.w), d: Number(node.dataset.d), name: node.dataset.n,
}));
let focus = frames[0];
function draw() {
  const pixels = svg.clientWidth || 1200;
  for (const f of frames) {
    const above = f.d < focus.d && f.x <= focus.x && f.x + f.w >= focus.x + focus.w;
    const inside = f.d >= focus.d && f.x >= focus.x && f.x + f.w <= focus.x + focus.w;
    f.node.classList.toggle("gone", !above && !inside);
    f.node.classList.toggle("above", above);
    if (!above && !inside) continue;
    const x = above ? 0 : (f.x - focus.x) / focus.w, w = above ? 1 : f.w / focus.w;
    f.rect.setAttribute("x", 100 * x + "%"); f.rect.setAttribute("width", 100 * w + "%"); f.text.setAttribute("x", 100 * x + "%");
    const letters = Math.floor((w * pixels - 6) / 7.3);
    f.text.textContent = f.name.length <= letters ? f.name : letters < 3 ? "" : f.name.slice(0, letters - 1) + "…";
  }
}
function find() {
  const wanted = search.value.trim().toLowerCase();
  let sum = 0, until = -1;
  // In order of drawing a caller comes before those it calls: what lies within a hit counts once.
  for (const f of frames) {
    const hit = wanted !== "" && f.d > 0 && f.name.toLowerCase().includes(wanted);
    f.node.classList.toggle("hit", hit);
    if (hit && f.x >= until) { sum += f.w; until = f.x + f.w; }
  }
  note.textContent = wanted ? (100 * sum / whole).toFixed(1) + " % of the time is in what the search has found" : plain;
}
function zoom(node) { const found = frames.find(f => f.node === node); if (found) { focus = found; draw(); } }
svg.addEventListener("click", event => { const node = event.target.closest("g.f"); if (node) zoom(node); });
svg.addEventListener("keydown", event => {
  if (event.key === "Enter" && event.target.closest("g.f")) zoom(event.target.closest("g.f"));
  if (event.key === "Escape") { focus = frames[0]; search.value = ""; find(); draw(); }
  if (event.key === "/" && event.target !== search) { event.preventDefault(); search.focus(); }
});
search.addEventListener("input", find);
addEventListener("resize", draw);
draw();
