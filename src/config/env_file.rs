//! Files of environment variables: `.env`.
//!
//! What shells, Docker and the dotenv libraries agree on: `NAME=value` a line, `#` comments, an optional `export`, values
//! bare, in single quotes (taken as they are) or in double quotes (with `\n`, `\t`, `\"`, `\\` and `\$`). Nothing is
//! substituted: a token with a `$` in it stays what it is. Written here because the crate for it, dotenvy, repeats the
//! broken line in its errors, which may hold a secret, and does not tell the lines of the others.

/// A variable of such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The line it is in, counted from 1.
    pub line: usize,
}

/// Reads a file's text.
///
/// # Errors
/// The number of the first line that cannot be read, and why. The line itself is not repeated.
pub fn parse(text: &str) -> Result<Vec<Entry>, (usize, &'static str)> {
    let mut entries = Vec::new();
    for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = entry(line).map_err(|reason| (line_number, reason))?;
        entries.push(Entry { name: name.to_owned(), value, line: line_number });
    }
    Ok(entries)
}

fn entry(line: &str) -> Result<(&str, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("it is not NAME=value")?;
    let name = name.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err("it is not NAME=value");
    }
    let value = value.trim();
    let value = match value.chars().next() {
        Some('\'') => {
            let (inside, rest) = value[1..].split_once('\'').ok_or("its quote has no end")?;
            nothing_but_a_comment(rest)?;
            inside.to_owned()
        }
        Some('"') => double_quoted(&value[1..])?,
        _ => bare(value).to_owned(),
    };
    Ok((name, value))
}

/// Up to a comment, which has white space before it.
fn bare(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with(char::is_whitespace));
    comment.map_or(value, |(at, _)| value[..at].trim_end())
}

fn double_quoted(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next().ok_or("its quote has no end")? {
            '"' => break,
            '\\' => match rest.next().ok_or("its quote has no end")? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$') => value.push(escaped),
                _ => return Err("it has a \\ before something else than n, t, \", \\ and $"),
            },
            other => value.push(other),
        }
    }
    nothing_but_a_comment(rest.as_str())?;
    Ok(value)
}

fn nothing_but_a_comment(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err("something follows its quote") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("A=b", "b")]
    #[case("  export A = b c  ", "b c")]
    #[case("A=", "")]
    #[case("A=#b", "")]
    #[case("A=b#c # d", "b#c")]
    #[case("A=$HOME/`x`", "$HOME/`x`")]
    #[case("A='b \"#\" \\n' # c", "b \"#\" \\n")]
    #[case(r#"A="b # \" \\ \$ \n" # c"#, "b # \" \\ $ \n")]
    #[case("A=x=y", "x=y")]
    fn values_are_read(#[case] text: &str, #[case] value: &str) {
        let text = format!("\u{feff}# first\n\n{text}\r\nB=2");
        let entries = parse(&text).unwrap();
        assert_eq!(entries[0], Entry { name: "A".to_owned(), value: value.to_owned(), line: 3 });
        assert_eq!((entries[1].name.as_str(), entries[1].line), ("B", 4));
    }

    #[rstest]
    #[case("just words")]
    #[case("=b")]
    #[case("A B=c")]
    #[case("A='b")]
    #[case("A=\"b")]
    #[case("A=\"b\\")]
    #[case("A=\"\\x\"")]
    #[case("A='b'c")]
    fn a_broken_line_is_named_by_its_number(#[case] line: &str) {
        assert_eq!(parse(&format!("OK=1\n{line}")).unwrap_err().0, 2);
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_comes_back(value in "[^\u{0}\r]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let entries = parse(&format!("A=\"{quoted}\"")).unwrap();
            prop_assert_eq!(&entries[0].value, &value);
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,80}|[\"'\\\\=#A \n]{0,30}") {
            let _ = parse(&text);
        }
    }
}
