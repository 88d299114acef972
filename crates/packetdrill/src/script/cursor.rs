//! A place in the text of a script, and the small things that can be read there.

use super::{Defines, ParseError};

/// What a part of the grammar gives.
pub(super) type Parsed<T> = Result<T, ParseError>;

/// A place in a text.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    name: &'a str,
    text: &'a str,
    pos: usize,
    /// Line of `pos`, from 1.
    line: usize,
    pub(super) defines: &'a Defines,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(name: &'a str, text: &'a str, line: usize, defines: &'a Defines) -> Self {
        Self { name, text, pos: 0, line, defines }
    }

    /// A cursor over another text that stands at this place (the value of a define).
    pub(super) fn within(&self, text: &'a str) -> Self {
        Self { text, pos: 0, ..self.clone() }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The text from an earlier place to here.
    pub(super) fn since(&self, pos: usize) -> &'a str {
        self.text.get(pos..self.pos).unwrap_or_default()
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    /// The next character, after nothing.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn advance(&mut self, bytes: usize) {
        let end = self.pos + bytes;
        while self.pos < end && self.bump().is_some() {}
    }

    /// Skips blanks, line ends and comments.
    pub(super) fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let line_start = self
                .text
                .get(..self.pos)
                .is_none_or(|before| before.rsplit('\n').next().unwrap_or_default().trim().is_empty());
            if rest.starts_with(char::is_whitespace) {
                self.bump();
            } else if rest.starts_with("//") || line_start && rest.starts_with('#') {
                self.advance(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.advance(rest.find("*/").map_or(rest.len(), |at| at + 2));
            } else {
                return;
            }
        }
    }

    /// Skips blanks within a line.
    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
            self.bump();
        }
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }

    /// Takes `token` if it is next, after blanks and comments.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let there = self.rest().starts_with(token);
        if there {
            self.advance(token.len());
        }
        there
    }

    /// Takes `word` if it is the whole next word.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.skip();
        let there = self.peek_word() == word;
        if there {
            self.advance(word.len());
        }
        there
    }

    pub(super) fn looks_at(&mut self, token: &str) -> bool {
        self.skip();
        self.rest().starts_with(token)
    }

    pub(super) fn expect(&mut self, token: &str, what: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("'{token}' {what}"))) }
    }

    /// Letters, digits and underscores that are next.
    pub(super) fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    pub(super) fn word(&mut self, what: &str) -> Parsed<&'a str> {
        self.skip();
        let word = self.peek_word();
        if word.is_empty() {
            return Err(self.expected(what));
        }
        self.advance(word.len());
        Ok(word)
    }

    /// Everything up to `end`, which is taken too.
    pub(super) fn until(&mut self, end: &str, what: &str) -> Parsed<&'a str> {
        let rest = self.rest();
        let Some(at) = rest.find(end) else {
            return Err(self.expected(&format!("'{end}' at the end of {what}")));
        };
        self.advance(at + end.len());
        Ok(rest.get(..at).unwrap_or_default())
    }

    /// A whole number, decimal or hexadecimal.
    pub(super) fn number(&mut self, what: &str) -> Parsed<i64> {
        self.skip();
        let word = self.peek_word();
        if let Some(value) = self.defines.get(word) {
            let value = value.clone();
            self.advance(word.len());
            return parse_number(&value)
                .ok_or_else(|| self.error(&format!("{what} expected, but {word} is '{value}'")));
        }
        match parse_number(word) {
            Some(value) => {
                self.advance(word.len());
                Ok(value)
            }
            None => Err(self.expected(what)),
        }
    }

    /// A number that fits `T`.
    pub(super) fn number_as<T: TryFrom<i64>>(&mut self, what: &str) -> Parsed<T> {
        let value = self.number(what)?;
        T::try_from(value).map_err(|_| self.error(&format!("{value} is out of range for {what}")))
    }

    /// Seconds with a fraction, as microseconds. A fraction is a point with a digit behind it: `0...1` begins with 0.
    pub(super) fn seconds(&mut self) -> Parsed<i64> {
        self.skip_blanks();
        let start = self.pos;
        let digits = |c: &mut Self| {
            let from = c.pos;
            while c.peek().is_some_and(|d| d.is_ascii_digit()) {
                c.bump();
            }
            c.since(from)
        };
        let whole = digits(self);
        let mut fraction = "";
        let mut after = self.rest().chars();
        if after.next() == Some('.') && after.next().is_some_and(|d| d.is_ascii_digit()) {
            self.bump();
            fraction = digits(self);
        }
        if self.pos == start {
            return Err(self.expected("a time in seconds"));
        }
        let whole: i64 = if whole.is_empty() { 0 } else { self.fits(whole.parse().ok())? };
        let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let micros: i64 = micros.parse().unwrap_or(0);
        let value = whole.checked_mul(1_000_000).and_then(|us| us.checked_add(micros));
        self.fits(value.filter(|us| *us < i64::MAX / 16))
    }

    fn fits(&self, value: Option<i64>) -> Parsed<i64> {
        value.ok_or_else(|| self.error("this time is too long"))
    }

    pub(super) fn error(&self, message: &str) -> ParseError {
        ParseError {
            name: self.name.to_owned(),
            line: self.line,
            message: message.to_owned(),
            unsupported: false,
        }
    }

    pub(super) fn unsupported(&self, message: &str) -> ParseError {
        ParseError { unsupported: true, ..self.error(message) }
    }

    /// An error that says what was expected here, and what is here.
    pub(super) fn expected(&self, what: &str) -> ParseError {
        let here = self.rest().lines().next().unwrap_or_default().trim_end();
        let shown: String = here.chars().take(30).collect();
        let dots = if shown.len() < here.len() { "..." } else { "" };
        if here.is_empty() {
            let place = if self.rest().is_empty() { "end of the script" } else { "end of the line" };
            self.error(&format!("{what} expected, found the {place}"))
        } else {
            self.error(&format!("{what} expected, found '{shown}{dots}'"))
        }
    }
}

/// A decimal or hexadecimal number without sign.
pub(super) fn parse_number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // Pointers' width: 0xffffffffffffffff is -1.
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(u64::cast_signed),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}
