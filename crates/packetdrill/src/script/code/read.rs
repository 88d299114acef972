//! From text to statements.

use super::{Operator, Statement, Term, Value};

type Read<T> = Result<T, String>;

/// Names of functions that expressions may use.
const FUNCTIONS: [&str; 7] = ["abs", "min", "max", "int", "float", "str", "bool"];
/// Operators by precedence, the weakest first; comparisons stand between `and` and `|` and are chained.
const LEVELS: [&[(&str, Operator)]; 6] = [
    &[("|", Operator::BitOr)],
    &[("^", Operator::BitXor)],
    &[("&", Operator::BitAnd)],
    &[("<<", Operator::ShiftLeft), (">>", Operator::ShiftRight)],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[
        ("*", Operator::Multiply),
        ("//", Operator::FloorDivide),
        ("/", Operator::Divide),
        ("%", Operator::Modulo),
    ],
];
const COMPARISONS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessEqual),
    (">=", Operator::GreaterEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

pub(super) fn statements(text: &str, line: usize) -> Result<Vec<Statement>, (usize, String)> {
    let mut statements = Vec::new();
    for (offset, text) in split(text) {
        let line = line + offset;
        if let Some(statement) = statement(&text, line).map_err(|message| (line, message))? {
            statements.push(statement);
        }
    }
    Ok(statements)
}

/// Cuts a block at line ends and semicolons that are in no bracket and no string; comments go.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts = Vec::new();
    let (mut part, mut begun, mut line, mut depth) = (String::new(), 0, 0, 0);
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if part.trim().is_empty() {
            begun = line;
        }
        match (quote, c) {
            (Some(open), _) => {
                if c == open {
                    quote = None;
                }
                part.push(c);
            }
            (None, '#') => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, '\\') if chars.peek() == Some(&'\n') => {
                chars.next();
                line += 1;
            }
            (None, '\n' | ';') if depth <= 0 => parts.push((begun, std::mem::take(&mut part))),
            _ => {
                match c {
                    '"' | '\'' => quote = Some(c),
                    '(' | '[' => depth += 1,
                    ')' | ']' => depth -= 1,
                    _ => {}
                }
                part.push(c);
            }
        }
        if c == '\n' {
            line += 1;
        }
    }
    parts.push((begun, part));
    parts
}

fn statement(text: &str, line: usize) -> Read<Option<Statement>> {
    let text = text.trim();
    if text.is_empty() || text == "pass" {
        return Ok(None);
    }
    let mut reader = Reader { rest: text };
    let statement = if reader.word("assert") {
        let condition = reader.expression()?;
        let message = if reader.eat(",") { Some(reader.tuple()?) } else { None };
        Statement::Assert { condition, message, line, text: text.to_owned() }
    } else if reader.word("print") {
        Statement::Print(if reader.at_end() { Term::Tuple(Vec::new()) } else { reader.tuple()? })
    } else {
        let name = reader.name();
        if name.is_empty() || reader.rest.trim_start().starts_with("==") || !reader.eat("=") {
            return Err(format!(
                "'{text}' is neither assert, print nor an assignment: this code is not evaluated"
            ));
        }
        Statement::Assign(name, reader.expression()?)
    };
    if reader.at_end() {
        Ok(Some(statement))
    } else {
        Err(format!("'{}' at the end of '{text}' is not understood", reader.rest.trim()))
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a whole word.
    fn word(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(word) {
            Some(rest) if !rest.starts_with(is_word) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn name(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    fn tuple(&mut self) -> Read<Term> {
        let mut terms = vec![self.expression()?];
        while self.eat(",") {
            terms.push(self.expression()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Term::Tuple(terms) })
    }

    fn expression(&mut self) -> Read<Term> {
        let mut left = self.conjunction()?;
        while self.word("or") {
            left = Term::Binary(Operator::Or, left.into(), self.conjunction()?.into());
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Read<Term> {
        let mut left = self.negation()?;
        while self.word("and") {
            left = Term::Binary(Operator::And, left.into(), self.negation()?.into());
        }
        Ok(left)
    }

    fn negation(&mut self) -> Read<Term> {
        if self.word("not") {
            return Ok(Term::Not(self.negation()?.into()));
        }
        let first = self.binary(0)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = COMPARISONS.into_iter().find(|(token, _)| {
            let shift =
                (*token == "<" || *token == ">") && self.rest.trim_start().starts_with(&token.repeat(2));
            !shift && self.eat(token)
        }) {
            rest.push((operator, self.binary(0)?));
        }
        Ok(match rest.len() {
            0 => first,
            1 => {
                let (operator, right) = rest.remove(0);
                Term::Binary(operator, first.into(), right.into())
            }
            _ => Term::Chain(first.into(), rest),
        })
    }

    fn binary(&mut self, level: usize) -> Read<Term> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some((_, operator)) = operators.iter().find(|(token, _)| self.eat(token)) {
            left = Term::Binary(*operator, left.into(), self.binary(level + 1)?.into());
        }
        Ok(left)
    }

    fn unary(&mut self) -> Read<Term> {
        if self.eat("-") {
            return Ok(Term::Negative(self.unary()?.into()));
        }
        if self.eat("~") {
            return Ok(Term::Invert(self.unary()?.into()));
        }
        if self.eat("+") {
            return self.unary();
        }
        self.atom()
    }

    fn atom(&mut self) -> Read<Term> {
        if self.eat("(") {
            let inner = if self.eat(")") { return Ok(Term::Tuple(Vec::new())) } else { self.tuple()? };
            return if self.eat(")") { Ok(inner) } else { Err("a bracket is not closed".into()) };
        }
        for quote in ["\"", "'"] {
            if self.eat(quote) {
                let (text, rest) = self.rest.split_once(quote).ok_or("a string is not closed")?;
                self.rest = rest;
                return Ok(Term::Constant(Value::Text(text.to_owned())));
            }
        }
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.literal();
        }
        let name = self.name();
        match name.as_str() {
            "" => Err(format!("an expression is expected at '{}'", self.rest)),
            "True" => Ok(Term::Constant(Value::Bool(true))),
            "False" => Ok(Term::Constant(Value::Bool(false))),
            _ if self.rest.starts_with('(') => {
                if !FUNCTIONS.contains(&name.as_str()) {
                    return Err(format!("the function {name}() is not known here"));
                }
                self.eat("(");
                let mut terms = Vec::new();
                while !self.eat(")") {
                    if !terms.is_empty() && !self.eat(",") {
                        return Err(format!("a bracket of {name}() is not closed"));
                    }
                    terms.push(self.expression()?);
                }
                Ok(Term::Apply(name, terms))
            }
            _ if self.rest.starts_with(['[', '.']) => Err(format!("'{name}{}' is not known here", self.rest)),
            _ => Ok(Term::Name(name)),
        }
    }

    fn literal(&mut self) -> Read<Term> {
        let end = self.rest.find(|c| !is_word(c) && c != '.').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let value = match crate::script::cursor::parse_number(text) {
            Some(value) => Some(Value::Int(value)),
            None => text.parse().ok().map(Value::Float),
        };
        value.map(Term::Constant).ok_or_else(|| format!("'{text}' is not a number"))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
