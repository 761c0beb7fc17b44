//! Host patterns that capture labels, such as `{0}.{1}.svc`: label by label, each placeholder one whole label.

use std::fmt;

use super::HostPatternError;
use super::host::check_label;
use super::trie::Step;

/// One label of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Label {
    Literal(Box<str>),
    Placeholder(usize),
}

pub(super) fn parse(text: &str) -> Result<Vec<Label>, HostPatternError> {
    let labels = text.split('.').map(Label::parse).collect::<Result<Vec<_>, _>>()?;
    let mut numbers: Vec<usize> = numbers(&labels).collect();
    numbers.sort_unstable();
    // In order, each stands at its own place; the first that does not is one too many, or one too far.
    match numbers.iter().enumerate().find(|(place, number)| place != *number) {
        None => Ok(labels),
        Some((place, number)) if *number < place => Err(HostPatternError::PlaceholderTwice(*number)),
        Some((place, _)) => Err(HostPatternError::PlaceholderMissing(place)),
    }
}

impl Label {
    fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text.contains(['{', '}']) {
            let number = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let number = number.and_then(|number| number.parse().ok());
            // The text must be the one that templates of targets and IDs are filled by: no sign, no leading zero.
            return match number.map(Self::Placeholder) {
                Some(label) if label.to_string() == text => Ok(label),
                _ => Err(HostPatternError::Placeholder(text.to_owned())),
            };
        }
        if text.contains('*') {
            return Err(HostPatternError::Wildcard);
        }
        check_label(text)?;
        Ok(Self::Literal(text.to_ascii_lowercase().into()))
    }

    fn matches(&self, asked: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *asked,
            Self::Placeholder(_) => takes(asked),
        }
    }

    /// As the index holds it.
    pub(super) fn step(&self) -> Step<'_> {
        match self {
            Self::Literal(text) => Step::Literal(text),
            Self::Placeholder(_) => Step::Any,
        }
    }
}

/// Whether a placeholder takes a label, whatever the caller made of the host: this text goes into addresses and SPIFFE IDs.
pub(super) fn takes(label: &str) -> bool {
    check_label(label).is_ok() && !label.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn numbers(labels: &[Label]) -> impl Iterator<Item = usize> {
    labels.iter().filter_map(|label| match label {
        Label::Placeholder(number) => Some(*number),
        Label::Literal(_) => None,
    })
}

pub(super) fn captures(labels: &[Label]) -> usize {
    numbers(labels).count()
}

pub(super) fn matches(labels: &[Label], host: &str) -> bool {
    let mut asked = host.split('.');
    labels.iter().all(|label| asked.next().is_some_and(|asked| label.matches(asked))) && asked.next().is_none()
}

pub(super) fn capture<'h>(labels: &[Label], host: &'h str) -> Option<Vec<&'h str>> {
    if !matches(labels, host) {
        return None;
    }
    let mut captured = vec![""; captures(labels)];
    for (label, text) in labels.iter().zip(host.split('.')) {
        if let Label::Placeholder(number) = label {
            *captured.get_mut(*number)? = text;
        }
    }
    Some(captured)
}

pub(super) fn print(labels: &[Label], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            f.write_str(".")?;
        }
        write!(f, "{label}")?;
    }
    Ok(())
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Placeholder(number) => write!(f, "{{{number}}}"),
        }
    }
}
