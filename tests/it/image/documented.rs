//! The documentation's list of checks is the program's.

use std::fmt::Write;

use bootwatch::core::image::{Check, Injected, TABLE};

use crate::tree;

const PAGE: &str = "docs/image-audit.md";
const BEGIN: &str = "<!-- checks: written from the code -->\n";
const END: &str = "<!-- end of checks -->\n";

fn listed() -> String {
    let mut text = String::from(
        "| check | asks | accepts | otherwise | replaced by injection |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in TABLE {
        let accepts: Vec<String> = row
            .accepts
            .iter()
            .map(
                |one| match one.starts_with('/') || one.ends_with(".service") {
                    true => format!("`{one}`"),
                    false => (*one).to_owned(),
                },
            )
            .collect();
        let replaced = match row.injected {
            Injected::Never => "no",
            Injected::WithAll | Injected::WithFiles(_) => "yes",
        };
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {replaced} |",
            row.check,
            row.asks,
            accepts.join("; "),
            row.otherwise
        )
        .unwrap();
    }
    text
}

/// `BLESS=1` writes the list anew.
#[test]
fn the_documented_checks_are_those_of_the_code() {
    let page = tree::read(PAGE);
    let (before, rest) = page.split_once(BEGIN).expect(BEGIN);
    let (found, after) = rest.split_once(END).expect(END);
    if std::env::var_os("BLESS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", listed())).unwrap();
        return;
    }
    assert_eq!(
        found,
        listed(),
        "BLESS=1 cargo test documented writes it anew"
    );
}

#[test]
fn every_check_has_one_row() {
    let rows: Vec<Check> = TABLE.iter().map(|row| row.check).collect();
    assert_eq!(rows, Check::ALL);
}
