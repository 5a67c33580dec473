//! The front page: plain, without styles or scripts.

/// Each path with what it shows.
const PATHS: [(&str, &str); 6] = [
    ("/metrics", "figures for Prometheus"),
    ("/-/healthy", "whether the process lives"),
    ("/-/ready", "whether it can do its work, and if not, why"),
    ("/api/v1/incidents", "open incidents"),
    ("/api/v1/silences", "silences"),
    ("/api/v1/maintenance", "maintenance"),
];

pub(super) fn index(version: &str, host: &str) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>bootwatch on {host}</title>\n\
         <h1>bootwatch {version} on {host}</h1>\n<ul>\n",
        version = escape(version),
        host = escape(host),
    );
    for (path, shows) in PATHS {
        let path = escape(path);
        html.push_str(&format!(
            "<li><a href=\"{path}\">{path}</a>: {}</li>\n",
            escape(shows)
        ));
    }
    html.push_str("</ul>\n</html>\n");
    html
}

/// Text that may stand in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_markup() {
        let html = index("1", "</title><script>alert(\"1\")</script>'&\u{1b}[31m");
        assert!(!html.contains("<script"));
        assert!(!html.contains('\u{1b}'));
        assert!(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;"));
        assert!(html.contains("<a href=\"/-/ready\">"));
    }
}
