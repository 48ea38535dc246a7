//! Which doors may be opened at all, and what is asked there when nothing was said.

use super::*;
use crate::access::Rule;

fn settle(reach: Reach, auth: Option<Auth>, target: Option<&str>) -> Result<Rule, String> {
    let options = AccessOptions {
        auth,
        ..AccessOptions::default()
    };
    let target = target.map(|text| Target::from_text(text).unwrap());
    Access::new(reach, &options, target.as_ref()).map(|access| access.rule)
}

#[test]
fn a8_what_is_not_said_is_safe() {
    let open = || Ok(Rule::Ours("u".to_owned()));
    let ask = |auth| Ok(Rule::Ask(auth));
    let (with, without) = (Some("user=u password=p"), Some("user=u"));
    assert_eq!(settle(Reach::Unix, None, None), ask(Auth::Peer));
    assert_eq!(settle(Reach::Unix, None, with), ask(Auth::Peer));
    assert_eq!(settle(Reach::Loopback, None, with), ask(Auth::Scram));
    assert_eq!(settle(Reach::Network, None, with), ask(Auth::Scram));
    assert_eq!(settle(Reach::Loopback, None, without), open());
    let rows = [
        (
            Reach::Network,
            None,
            without,
            "DATABASE_URL has no password",
        ),
        (Reach::Network, None, None, "there is no DATABASE_URL"),
        (Reach::Loopback, None, None, "there is no DATABASE_URL"),
        (
            Reach::Loopback,
            None,
            Some("user=u passfile=/x"),
            "without a password in it",
        ),
        (
            Reach::Loopback,
            None,
            Some("user=u passfile=/x"),
            "file of users",
        ),
        (
            Reach::Loopback,
            None,
            Some("user=u sslcert=/c sslkey=/k"),
            "have none to prove",
        ),
        (
            Reach::Loopback,
            Some(Auth::Scram),
            without,
            "nobody could log in",
        ),
        (Reach::Unix, Some(Auth::Md5), without, "nobody could log in"),
        (Reach::Network, Some(Auth::Trust), with, "everybody"),
        (Reach::Loopback, Some(Auth::Peer), with, "unix sockets only"),
        (Reach::Network, Some(Auth::Plain), with, "need TLS"),
        (Reach::Network, Some(Auth::Cert), with, "need TLS"),
        (Reach::Unix, Some(Auth::Cert), with, "need TLS"),
    ];
    for (reach, auth, target, words) in rows {
        let refused = settle(reach, auth, target).unwrap_err();
        assert!(
            refused.contains(words),
            "{reach:?} {auth:?} {target:?}: {refused}"
        );
    }
}

#[test]
fn a8_files_that_cannot_be_used_are_refused_at_the_start() {
    let folder = Folder::new();
    let file = users(&folder);
    let options = |auth, users| AccessOptions {
        auth,
        users,
        ..AccessOptions::default()
    };
    let refused = |options: AccessOptions| {
        Access::new(Reach::Network, &options, None)
            .err()
            .unwrap_or_default()
    };
    assert!(refused(options(Some(Auth::Scram), Some(file.clone()))).contains("MD5 hashes"));
    assert!(refused(options(None, Some("/none".into()))).contains("/none"));
    assert_eq!(refused(options(Some(Auth::Md5), Some(file))), "");
    let empty = folder.write("empty", "; nobody\n");
    assert!(refused(options(None, Some(empty))).contains("nobody could log in"));
    let authority = Authority::new();
    let (cert, _) = authority.sign("a", "a", &[]);
    let (_, key) = authority.sign("b", "b", &[]);
    let with_tls = |tls| AccessOptions {
        tls: Some(tls),
        auth: Some(Auth::Plain),
        ..AccessOptions::default()
    };
    let target = own("secret");
    let refused = |options: AccessOptions| {
        Access::new(Reach::Network, &options, Some(&target))
            .err()
            .unwrap_or_default()
    };
    assert!(refused(with_tls((cert.clone(), key.clone()))).contains("do not fit"));
    assert!(refused(with_tls((cert.clone(), cert))).contains("no key"));
    assert!(refused(with_tls((key, "/none".into()))).contains("no certificate"));
    let without = AccessOptions {
        require_tls: true,
        ..AccessOptions::default()
    };
    assert!(refused(without).contains("has no certificate"));
}

#[test]
fn a8_a_door_without_passwords_is_for_one_user_and_where_tls_is_a_must_it_is() {
    run(async {
        let none = AccessOptions::default();
        let target = Target::from_text("user=own").unwrap();
        let port = door(Access::new(Reach::Loopback, &none, Some(&target)).unwrap()).await;
        assert!(enter(port, "user=own").await.is_ok());
        let refused = enter(port, "user=postgres").await.unwrap_err();
        assert_eq!(refused.sql.unwrap().code, *b"28000");
        let authority = Authority::new();
        let options = AccessOptions {
            tls: Some(authority.sign("door", "door", &["localhost"])),
            require_tls: true,
            ..AccessOptions::default()
        };
        let access = Access::new(Reach::Loopback, &options, Some(&own("secret"))).unwrap();
        let port = door(access).await;
        assert!(
            enter(port, "user=own password=secret")
                .await
                .unwrap()
                .stream
                .is_tls()
        );
        let refused = enter(port, "user=own password=secret sslmode=disable")
            .await
            .unwrap_err();
        assert!(refused.message.contains("asks for TLS"), "{refused}");
    });
}
