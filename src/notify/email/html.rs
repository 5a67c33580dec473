//! A page as HTML for readers of mail: tables and inline styles, no picture, nothing that is fetched.
//!
//! Light is written into the elements, since many readers drop a style sheet; those that keep it get dark from it, by
//! classes. One column of at most 600 pixels, so that a phone shows it without sideways scrolling; long lines of
//! evidence break anywhere.

use crate::notify::page::{Page, Status};
use crate::notify::text::html;

const FONT: &str = "font-family:-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;";
const MONO: &str = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;";

const DARK: &str = "@media (prefers-color-scheme:dark){\
.b{background:#15181c!important}.c{background:#1f2429!important;border-color:#363d45!important}\
.t{color:#e8eaed!important}.m{color:#a4acb5!important}.k{background:#14171a!important;color:#d5dae0!important}\
.n{background:#17301f!important;color:#b9e6c6!important}.s{background:#332b14!important;color:#f3dfa4!important}\
.a{color:#8ab8ff!important}}\
@media (max-width:480px){.p{padding:14px!important}.h{font-size:19px!important}}";

pub(super) fn page(page: &Page) -> String {
    let (colour, word) = look(page);
    let mut out = String::with_capacity(8 * 1024);
    push(
        &mut out,
        &[
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta name=\"supported-color-schemes\" content=\"light dark\">\n<title>",
            &html(&page.subject),
            "</title>\n<style>:root{color-scheme:light dark}",
            DARK,
            "</style></head>\n<body class=\"b\" style=\"margin:0;padding:0;background:#f1f3f5;\">\n",
            // What a phone shows below the subject.
            "<div style=\"display:none;max-height:0;overflow:hidden;\">",
            &html(&page.summary),
            "</div>\n<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\">\
             <tr><td align=\"center\" style=\"padding:12px 8px;\">\n\
             <table role=\"presentation\" class=\"c\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" \
             style=\"max-width:600px;background:#ffffff;border:1px solid #d9dee3;border-radius:8px;",
            FONT,
            "text-align:left;\">\n<tr><td style=\"background:",
            colour,
            ";color:#ffffff;padding:9px 20px;font-size:13px;font-weight:700;letter-spacing:.04em;\
             border-radius:7px 7px 0 0;\">",
            word,
            "<span style=\"font-weight:400;letter-spacing:0;\"> &nbsp;",
            &html(&page.host),
            "</span></td></tr>\n<tr><td class=\"p\" style=\"padding:18px 20px 20px;\">\n\
             <div class=\"t h\" style=\"margin:0 0 10px;font-size:21px;line-height:1.3;font-weight:700;color:#14171a;\
             overflow-wrap:anywhere;\">",
            &html(&capital(&page.title)),
            "</div>\n",
        ],
    );
    paragraph(&mut out, &page.summary);
    if let Some(well) = &page.not_affected {
        note(&mut out, "n", "#e7f6ec", "#1b5e33", "Not affected:", well);
    }
    if let Some(fix) = &page.fix {
        note(&mut out, "n", "#e7f6ec", "#1b5e33", "Fix:", fix);
    }
    diagnosis(&mut out, page);
    evidence(&mut out, page);
    if let Some(step) = page.first_step {
        note(&mut out, "s", "#fff6da", "#5c4500", "Do first:", step);
    }
    links(&mut out, page);
    details(&mut out, "Boots", &page.boots);
    details(&mut out, "Rules", &page.figures);
    out.push_str("</td></tr></table>\n</td></tr></table>\n</body></html>\n");
    out
}

/// The colour and word at the top.
fn look(page: &Page) -> (&'static str, &'static str) {
    match (page.is_test, page.status) {
        (true, _) => ("#3d5a80", "TEST"),
        (_, Status::Firing) if page.is_drill => ("#3d5a80", "DRILL"),
        (_, Status::Resolved) if page.is_drill => ("#3d5a80", "DRILL RESOLVED"),
        (false, Status::Firing) => ("#b3261e", "FIRING"),
        (false, Status::Resolved) => ("#1e7a3c", "RESOLVED"),
    }
}

fn paragraph(out: &mut String, text: &str) {
    push(
        out,
        &[
            "<div class=\"t\" style=\"margin:0 0 14px;font-size:15px;line-height:1.5;color:#2b3138;\
             overflow-wrap:anywhere;\">",
            &html(&capital(text)),
            "</div>\n",
        ],
    );
}

fn note(out: &mut String, class: &str, back: &str, ink: &str, head: &str, text: &str) {
    push(
        out,
        &[
            "<div class=\"",
            class,
            "\" style=\"margin:0 0 14px;padding:10px 12px;border-radius:6px;background:",
            back,
            ";color:",
            ink,
            ";font-size:15px;line-height:1.45;overflow-wrap:anywhere;\"><b>",
            head,
            "</b> ",
            &html(text),
            "</div>\n",
        ],
    );
}

fn heading(out: &mut String, text: &str) {
    push(
        out,
        &[
            "<div class=\"m\" style=\"margin:0 0 4px;font-size:12px;font-weight:700;letter-spacing:.05em;\
             text-transform:uppercase;color:#5c6670;\">",
            text,
            "</div>\n",
        ],
    );
}

fn diagnosis(out: &mut String, page: &Page) {
    let Some((first, rest)) = page.diagnosis.split_first() else {
        return;
    };
    push(
        out,
        &[
            "<div class=\"t\" style=\"margin:0 0 14px;font-size:14px;line-height:1.5;color:#2b3138;\
             overflow-wrap:anywhere;\"><b>",
            &html(first),
            "</b>",
        ],
    );
    for line in rest {
        out.push_str("<br>\n");
        out.push_str(&html(line));
    }
    out.push_str("</div>\n");
}

fn evidence(out: &mut String, page: &Page) {
    if page.evidence.is_empty() {
        return;
    }
    heading(out, "Evidence");
    push(
        out,
        &[
            "<div class=\"k\" style=\"margin:0 0 14px;padding:9px 11px;border-radius:6px;background:#f1f3f5;\
             color:#1f2429;font-size:13px;line-height:1.5;overflow-wrap:anywhere;",
            MONO,
            "\">",
        ],
    );
    for (at, line) in page.evidence.iter().enumerate() {
        if at > 0 {
            out.push_str("<br>\n");
        }
        out.push_str(&html(&crate::notify::text::one_line(line)));
    }
    out.push_str("</div>\n");
}

fn links(out: &mut String, page: &Page) {
    let links: Vec<String> = page
        .links()
        .map(|(name, url)| {
            let url = html(url);
            format!(
                "<a class=\"a\" href=\"{url}\" style=\"color:#0b57d0;font-weight:600;text-decoration:underline;\">{name}</a>"
            )
        })
        .collect();
    if links.is_empty() {
        return;
    }
    push(
        out,
        &[
            "<div class=\"m\" style=\"margin:0 0 18px;font-size:15px;line-height:1.5;color:#5c6670;\">",
            &links.join(" &nbsp;·&nbsp; "),
            "</div>\n",
        ],
    );
}

fn details(out: &mut String, head: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    heading(out, head);
    push(
        out,
        &[
            "<div class=\"m\" style=\"margin:0 0 12px;font-size:13px;line-height:1.5;color:#5c6670;\
             overflow-wrap:anywhere;\">",
            &lines
                .iter()
                .map(|line| format!("<div style=\"margin:0 0 5px;\">{}</div>\n", html(line)))
                .collect::<String>(),
            "</div>\n",
        ],
    );
}

/// As a headline begins.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn push(out: &mut String, pieces: &[&str]) {
    for piece in pieces {
        out.push_str(piece);
    }
}
