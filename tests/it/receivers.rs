//! RECEIVERS.md is what the headers of `src/notify` say.

use std::path::Path;

use modelwatch::notify::KINDS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const HEAD: &str = "# Receivers

Every kind of receiver with its keys; made from the headers of [src/notify](src/notify) (`UPDATE_GOLDEN=1` makes it anew). What they share
(`send_resolved`, `http_config`, `timeout`, `global`, templates) is in [ALERTING.md](ALERTING.md#receivers).
";

/// What the header of a kind's file says.
fn header(name: &str) -> String {
    let source = std::fs::read_to_string(root().join(format!("src/notify/{name}.rs"))).unwrap();
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

#[test]
fn receivers_are_explained() {
    let section = |name: &str| format!("\n## {name}_configs\n\n{}", header(name));
    let page = KINDS.iter().map(|kind| section(kind.name)).fold(HEAD.to_owned(), |page, section| page + &section);
    let file = root().join("RECEIVERS.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), page, "RECEIVERS.md is old; UPDATE_GOLDEN=1 makes it anew");
}
