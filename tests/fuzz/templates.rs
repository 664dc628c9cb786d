//! Templates of messages: no text makes the parser or a rendering panic, or run for ever.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelwatch::message::{Data, Templates, Text, sample};

fuzz_target!(|text: &str| {
    if let Ok(text) = Text::parse(text, &Templates::default()) {
        let _ = text.render(&Data::new(&sample::firing(), "http://127.0.0.1:9464"));
    }
});
