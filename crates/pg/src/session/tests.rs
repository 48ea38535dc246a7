//! Sessions against a server of the machine.

use std::cell::RefCell;
use std::rc::Rc;

use crate::pool::WaitInfo;
use crate::pooler::Pooler;
use crate::session::{Guest, Handle, run};
use crate::settings::Settings;
use crate::stream::Stream;
use crate::target::Target;
use crate::wire::startup::{First, decode};

#[test]
#[ignore = "serves until it is killed"]
fn trial() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let settings = Settings {
            connections: Some(std::env::var("TRIAL_N").map_or(12, |n| n.parse().unwrap())),
            defer_begin: std::env::var("TRIAL_DEFER").is_ok(),
            ..Settings::default()
        };
        let pooler = Pooler::new(settings);
        let target = Target::from_url(&std::env::var("TRIAL_URL").unwrap()).unwrap();
        let id = pooler.register(target).unwrap();
        let path = std::env::var("TRIAL_SOCKET").unwrap();
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let shared = Rc::clone(&pooler.0);
            tokio::task::spawn_local(async move {
                let mut stream: Stream = socket.into();
                let mut packet = Vec::new();
                let first = loop {
                    let mut byte = [0; 512];
                    let n = stream.read(&mut byte).await.unwrap();
                    packet.extend_from_slice(&byte[..n]);
                    match decode(&packet) {
                        Ok(Some((First::Startup(startup), _))) => break startup,
                        Ok(Some((First::Cancel(key), _))) => {
                            if let Some(aim) = shared.sessions.cancel(&key) {
                                aim.quiet().await;
                            }
                            return;
                        }
                        Ok(Some((_, n))) => {
                            packet.drain(..n);
                            stream.write_all(b"N").await.unwrap();
                        }
                        Ok(None) if n > 0 => {}
                        other => return eprintln!("{other:?}"),
                    }
                };
                let pool = shared.pools.pool(id, first.database(), first.user()).unwrap();
                let handle = Handle::new(None, "trial".into());
                let registered = shared.sessions.enter(Rc::clone(&handle), false).unwrap();
                let seat = Rc::clone(&registered.seat);
                let guest = Guest {
                    shared: Rc::clone(&shared),
                    stream,
                    startup: first,
                    greeting: crate::wire::build::AUTHENTICATION_OK.to_vec(),
                    pool: pool.attach(),
                    handle,
                    key: seat.key().clone(),
                    who: WaitInfo { client: "trial".into(), seat: Some(seat) },
                };
                run(guest).await;
                drop(registered);
            });
        }
    });
    let _: RefCell<()> = RefCell::default();
}
