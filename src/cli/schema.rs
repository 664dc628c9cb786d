//! `modelwatch schema`: the JSON Schema of the files that people write, for editors to complete and check them by.
//!
//! It is what the parsers ask for, so it cannot lag behind them.

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{config, rule, ruletest};

/// Options of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which files.
    #[arg(value_enum, default_value = "rules")]
    files: Files,
}

/// THE list of kinds of files.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Files {
    /// Rule files.
    Rules,
    /// Tests of rules.
    Tests,
    /// The configuration.
    Config,
}

/// Prints a schema.
pub fn run(args: &Args) -> Result<()> {
    let (title, schema) = match args.files {
        Files::Rules => ("Rules of modelwatch", rule::schema()),
        Files::Tests => ("Tests of rules of modelwatch", ruletest::schema()),
        Files::Config => ("Configuration of modelwatch", config::schema()),
    };
    let text = serde_json::to_string_pretty(&titled(title, schema)).context("cannot write the schema")?;
    writeln!(std::io::stdout(), "{text}").context("cannot write to stdout")
}

/// The schema as a document of its own. Draft 7 is what all editors know.
fn titled(title: &str, mut schema: Value) -> Value {
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(title);
    schema
}
