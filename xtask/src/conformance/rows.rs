//! `docs/requirements.toml`.

use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requirements {
    pub(super) rfc: Vec<Rfc>,
}

/// One document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rfc {
    pub(super) number: u32,
    pub(super) title: String,
    pub(super) row: Vec<Row>,
}

/// One requirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Row {
    pub(super) id: Spanned<String>,
    pub(super) section: String,
    pub(super) level: Level,
    /// In one line.
    pub(super) meaning: String,
    /// What lastack does instead, and why.
    deviates: Option<String>,
    /// What Linux does.
    linux: Option<String>,
    /// Why there is nothing to hold.
    not_applicable: Option<String>,
}

/// How strong a requirement is. The negative forms count as the positive ones.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Level {
    Must,
    /// Binding text without a capitalised word; asked for like a MUST.
    Rule,
    Should,
    May,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::Must, Self::Rule, Self::Should, Self::May];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Rule => "rule",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        }
    }
}

/// What the row says of lastack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing<'a> {
    /// Met, which the tests have to show.
    Claimed,
    Deviates {
        why: &'a str,
        linux: &'a str,
    },
    NotApplicable(&'a str),
}

impl Requirements {
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rfc.iter().flat_map(|rfc| &rfc.row)
    }
}

impl Row {
    /// # Errors
    /// Reasons that contradict each other, or half of one.
    pub(super) fn standing(&self) -> Result<Standing<'_>, &'static str> {
        match (&self.deviates, &self.linux, &self.not_applicable) {
            (None, None, None) => Ok(Standing::Claimed),
            (Some(why), Some(linux), None) => Ok(Standing::Deviates { why, linux }),
            (None, None, Some(why)) => Ok(Standing::NotApplicable(why)),
            (_, _, None) => Err("'deviates' and 'linux' belong together"),
            _ => Err("'not-applicable' stands alone"),
        }
    }
}

/// # Errors
/// Not TOML, not these keys, an id that is there twice, or a meaning that would break the table.
pub(super) fn read(text: &str) -> Result<Requirements, String> {
    let requirements: Requirements = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut ids = BTreeSet::new();
    for row in requirements.rows() {
        let id = row.id.get_ref();
        if !ids.insert(id) {
            return Err(format!("{id} is there twice"));
        }
        let texts =
            [Some(&row.meaning), row.deviates.as_ref(), row.linux.as_ref(), row.not_applicable.as_ref()];
        if texts.into_iter().flatten().any(|text| text.is_empty() || text.contains(['|', '\n'])) {
            return Err(format!("{id}: a text is empty, has a line break, or a '|', which ends a cell"));
        }
    }
    Ok(requirements)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn an_id_that_is_there_twice_and_an_unknown_key_are_refused() {
        let row = "[[rfc.row]]\nid = 'A-1'\nsection = '1'\nlevel = 'MUST'\nmeaning = 'x'\n";
        let rfc = "[[rfc]]\nnumber = 1\ntitle = 'One'\n";
        assert!(read(&format!("{rfc}{row}")).is_ok());
        assert!(read(&format!("{rfc}{row}{row}")).is_err_and(|error| error == "A-1 is there twice"));
        assert!(read(&format!("{rfc}{row}why = 'x'\n")).is_err_and(|error| error.contains("why")));
    }
}
