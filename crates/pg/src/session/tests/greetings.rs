//! Servers that end while a client is greeted.

use super::house::{House, run};
use super::script::{Scripted, any, done, failed, ready};
use crate::settings::Settings;
use crate::wire::{SqlError, TxStatus, build};

fn one() -> Settings {
    Settings {
        connections: Some(1),
        ..Settings::default()
    }
}

fn ends() -> Vec<u8> {
    let mut out = Vec::new();
    SqlError::fatal("57P01", "terminating").encode(&mut out);
    out
}

#[test]
fn e5_what_a_server_refused_that_ended_under_a_greeting_is_forgotten() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            if number > 1 {
                return wire.serve("SELECT").await;
            }
            wire.hear_query().await?;
            wire.say(&[failed("22023"), ready(TxStatus::Idle), ends()].concat())
                .await
        });
        let house = House::before(one(), servers.target());
        let mut client = house.client(&[("application_name", "shop")]).await;
        assert_eq!(client.query("one").await, "SELECT I");
        assert_eq!(servers.connects.get(), 2);
    });
}

#[test]
fn e5_a_client_that_is_greeted_loses_four_servers_and_hears_why() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            wire.hear_query().await?;
            let reports = any(
                b'S',
                format!("application_name\0shop {number}\0").as_bytes(),
            );
            wire.say(&[reports, done("SELECT", TxStatus::Idle), ends()].concat())
                .await
        });
        let house = House::before(one(), servers.target());
        let client = house.client(&[("application_name", "shop")]).await;
        // The authentication goes ahead of all, and nothing of those servers comes.
        let error = client.greeting.strip_prefix(build::AUTHENTICATION_OK);
        let error = error.unwrap_or_else(|| panic!("{}", client.greeting.escape_ascii()));
        assert_eq!(error.first(), Some(&b'E'));
        assert_eq!(SqlError::decode(&error[5..]).code_str(), "57P01");
        assert_eq!(servers.connects.get(), 4);
        assert_eq!(house.pooler.stats().pools[0].unsettled, 0);
    });
}
