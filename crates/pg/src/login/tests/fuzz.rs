//! Conversations of a server cut and changed at every place: each ends, with a connection or an
//! error, without a panic.

use crate::login::auth::Credentials;
use crate::login::handshake::handshake;
use crate::stream::Stream;
use crate::target::{AllowedAuth, ChannelBinding, Secret};
use crate::wire::{BackendKey, SqlError, TxStatus, build};

/// Whatever a server says, the login comes to an end when the server does.
async fn check(bytes: &[u8]) -> bool {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let mut theirs = Stream::from(theirs);
    theirs.write_all(bytes).await.unwrap();
    std::future::poll_fn(|cx| theirs.poll_shutdown(cx))
        .await
        .unwrap();
    let password = Secret::new("x");
    let who = Credentials {
        user: "u",
        password: Some(&password),
        keys: None,
        md5: None,
        allowed: AllowedAuth::default(),
        binding: ChannelBinding::Prefer,
        tls: false,
        end_point: None,
    };
    handshake(ours.into(), [("user", "u")], &who).await.is_ok()
}

fn conversations() -> Vec<Vec<u8>> {
    let mut end = Vec::new();
    build::authentication(&mut end, 0, &[]);
    build::parameter_status(&mut end, "a", "b");
    build::message(&mut end, b'N', |out| out.extend_from_slice(b"Mx\0\0"));
    build::backend_key_data(&mut end, &BackendKey::new(1, b"abcd").unwrap());
    build::ready(&mut end, TxStatus::Idle);
    let mut error = Vec::new();
    SqlError::fatal("28P01", "no")
        .detail("d")
        .encode(&mut error);
    let ask = |code, data: &[u8]| {
        let mut out = Vec::new();
        build::authentication(&mut out, code, data);
        out
    };
    let sasl = [
        ask(10, b"SCRAM-SHA-256\0\0"),
        ask(11, b"r=a,s=AAAA,i=1"),
        ask(12, b"v=AAAA"),
    ];
    vec![
        [ask(3, &[]), end.clone()].concat(),
        [ask(5, &[1, 2, 3, 4]), end.clone()].concat(),
        [sasl.concat(), end.clone()].concat(),
        [end, error.clone()].concat(),
        error,
    ]
}

#[test]
fn i4_no_bytes_of_a_server_upset_the_login() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut logged_in = 0;
        for conversation in conversations() {
            for at in 0..conversation.len() {
                check(&conversation[..at]).await;
                for byte in [0, 1, 4, 0x7f, 0xff] {
                    let mut changed = conversation.clone();
                    changed[at] = byte;
                    logged_in += u32::from(check(&changed).await);
                }
            }
        }
        assert!(logged_in > 0, "the conversations are real ones");
    });
}
