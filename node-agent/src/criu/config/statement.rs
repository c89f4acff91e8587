//! One line of a CRIU configuration file.

/// An option as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Without its dashes; `name=value` is left as it is.
    pub(super) name: String,
    /// What follows the name.
    pub(super) value: Option<String>,
}

const MALFORMED: &str = "more than a name and a value";
const OPEN_QUOTE: &str = "a quote is not closed";

/// The option of a line; none on an empty line or a comment.
pub(super) fn parse_statement(line: &str) -> Result<Option<Entry>, &'static str> {
    let line = line.trim_start_matches(is_space);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    // CRIU cuts at the first space if there is one, else at the first tab.
    let Some((name, rest)) = line.split_once(' ').or_else(|| line.split_once('\t')) else {
        return Ok(Some(Entry {
            name: line.trim_end_matches(is_space).to_owned(),
            value: None,
        }));
    };
    let name = name.trim_end_matches(is_space).to_owned();
    let rest = rest.trim_start_matches(is_space);
    let value = match rest.strip_prefix('"') {
        _ if rest.is_empty() || rest.starts_with('#') => None,
        Some(quoted) => Some(quoted_value(quoted)?),
        None => Some(plain_value(rest)?),
    };
    Ok(Some(Entry { name, value }))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

fn plain_value(rest: &str) -> Result<String, &'static str> {
    let value = rest
        .split('#')
        .next()
        .unwrap_or_default()
        .trim_end_matches(is_space);
    if value.contains(' ') {
        Err(MALFORMED)
    } else {
        Ok(value.replace("\\\"", "\""))
    }
}

/// The text up to the next quote without a backslash before it; only a comment may follow.
fn quoted_value(quoted: &str) -> Result<String, &'static str> {
    let mut escaped = false;
    let end = quoted
        .char_indices()
        .find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\';
            ends
        })
        .map(|(index, _)| index)
        .ok_or(OPEN_QUOTE)?;
    let (value, rest) = quoted.split_at(end);
    let after = rest
        .get(1..)
        .unwrap_or_default()
        .trim_start_matches(is_space);
    if !after.is_empty() && !after.starts_with('#') {
        return Err(MALFORMED);
    }
    // CRIU cuts at a '#' inside the quotes as well.
    let value = value.split('#').next().unwrap_or_default();
    Ok(value.replace("\\\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> (String, Option<String>) {
        let Entry { name, value } = parse_statement(line).unwrap().unwrap();
        (name, value)
    }

    #[test]
    fn a_comment_after_a_name_is_no_value() {
        assert_eq!(entry("tcp-close # yes"), ("tcp-close".to_owned(), None));
        assert_eq!(entry("tcp-close   "), ("tcp-close".to_owned(), None));
    }

    #[test]
    fn a_hash_cuts_a_value_even_inside_quotes_as_in_criu() {
        assert_eq!(entry("a b#c").1.as_deref(), Some("b"));
        assert_eq!(entry("a \"b #c\"").1.as_deref(), Some("b "));
    }

    #[test]
    fn a_line_end_of_another_system_is_no_part_of_the_name() {
        assert_eq!(entry("tcp-close\r"), ("tcp-close".to_owned(), None));
    }
}
