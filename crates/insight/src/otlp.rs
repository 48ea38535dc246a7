//! Owns what is told to an OpenTelemetry collector (OTLP 1.x, protobuf): who tells, requests as spans,
//! and metrics. The numbers of fields are those of <https://github.com/open-telemetry/opentelemetry-proto>.
//! Leaves which requests are told and sending to others.

pub mod metrics;
pub mod traces;
mod wire;

use wire::Message;

/// Who tells.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// Of the site.
    pub service: String,
    /// Of this process, new with each start.
    pub instance: String,
    /// Of the program.
    pub version: &'static str,
}

impl Resource {
    /// `Resource` as field 1 of what is told, and behind it the scope with its contents: field 2.
    fn wrap(&self, contents: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut request = Message::default();
        // ResourceSpans and ResourceMetrics have the same form, as have their scopes.
        request.nested(1, |told| {
            told.nested(1, |resource| {
                for (name, value) in [
                    ("service.name", self.service.as_str()),
                    ("service.instance.id", &self.instance),
                    ("telemetry.sdk.name", "canter"),
                    ("telemetry.sdk.language", "rust"),
                    ("telemetry.sdk.version", self.version),
                ] {
                    resource.attribute(1, name, value);
                }
            });
            told.nested(2, |scope| {
                scope.nested(1, |own| {
                    own.text(1, "canter");
                    own.text(2, self.version);
                });
                contents(scope);
            });
        });
        request.into_bytes()
    }
}
