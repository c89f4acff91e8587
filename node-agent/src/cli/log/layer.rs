//! The way of the engine's tracing events into runc's log.

use std::{fmt, sync::Arc};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::{
    Log,
    format::{Caller, Entry, Level},
};

/// Writes every event into the log, its fields behind the message as logrus does.
#[derive(Debug, Clone)]
pub(crate) struct RuncLayer(pub(crate) Arc<Log>);

impl<S: Subscriber> Layer<S> for RuncLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let data = event.metadata();
        let caller = Caller {
            function: data.module_path().unwrap_or_default().to_owned(),
            file: format!(
                "{}:{}",
                data.file().unwrap_or_default(),
                data.line().unwrap_or_default()
            ),
        };
        let Words { message, fields } = words;
        self.0.write(
            &Entry {
                level: level(*data.level()),
                message,
                fields,
            },
            caller,
        );
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::ERROR => Level::Error,
    }
}

/// The message and the fields of an event, as text.
#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(String, String)>,
}

impl Words {
    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name().to_owned(), value));
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        self.take(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn an_event_becomes_a_line_with_its_fields() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let log = Arc::new(Log::new());
        log.write_to(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(RuncLayer(log));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not shown");
            tracing::warn!(pid = 7, path = %"/a b", "cannot thaw");
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.ends_with("level=warning msg=\"cannot thaw\" path=\"/a b\" pid=7\n"),
            "{text}"
        );
    }
}
