//! System calls as a script writes them.

use super::constants;
use super::cursor::{Cursor, Parsed};

/// An argument of a system call.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `...`: left to the runner.
    Ellipsis,
    /// A number, or constants joined by `|`.
    Int(i64),
    /// `"text"`.
    Text(String),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `{name=value, ...}`.
    Struct(Vec<Field>),
    /// `htons(8080)`.
    Apply(String, Vec<Expr>),
    /// `NULL`.
    Null,
}

/// A member of a struct: `name=value`, `name(count)=value`, or a value alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name; empty for a value alone.
    pub name: String,
    /// The count of `msg_iov(1)=`.
    pub count: Option<Expr>,
    /// Value.
    pub value: Expr,
}

/// What a call has to return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// `= ...`: anything.
    Any,
    /// A number.
    Value(i64),
    /// -1 with this errno and its name.
    Error(i32, String),
}

/// A call with its arguments and what it has to return.
#[derive(Clone, Debug, PartialEq)]
pub struct CallLine {
    /// Name.
    pub name: String,
    /// Arguments.
    pub args: Vec<Expr>,
    /// Result.
    pub want: Want,
}

pub(super) fn call(cursor: &mut Cursor<'_>) -> Parsed<CallLine> {
    let name = cursor.word("the name of a system call")?.to_owned();
    cursor.expect("(", "after the name of a system call")?;
    let args = list(cursor, ")")?;
    cursor.expect("=", "and the result of the call")?;
    let want = result(cursor)?;
    Ok(CallLine { name, args, want })
}

fn result(cursor: &mut Cursor<'_>) -> Parsed<Want> {
    if cursor.eat("...") {
        return Ok(Want::Any);
    }
    let Expr::Int(value) = expr(cursor)? else { return Err(cursor.expected("a number as result")) };
    cursor.skip_blanks();
    let mut want = Want::Value(value);
    if value == -1 && cursor.rest().starts_with('E') {
        let name = cursor.word("the name of an error")?;
        let Some(number) = constants::errno(name) else {
            return Err(cursor.error(&format!("unknown error name '{name}'")));
        };
        want = Want::Error(number, name.to_owned());
    }
    cursor.skip_blanks();
    if cursor.rest().starts_with('(') {
        cursor.until(")", "a note")?;
    }
    Ok(want)
}

fn list(cursor: &mut Cursor<'_>, end: &str) -> Parsed<Vec<Expr>> {
    let mut items = Vec::new();
    while !cursor.eat(end) {
        if !items.is_empty() {
            cursor.expect(",", "between arguments")?;
            // A comma may stand behind the last one.
            if cursor.eat(end) {
                break;
            }
        }
        items.push(expr(cursor)?);
    }
    Ok(items)
}

pub(super) fn expr(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let mut value = term(cursor)?;
    loop {
        // Only in this line: what comes after may be a comment or the next event.
        cursor.skip_blanks();
        if !cursor.rest().starts_with('|') {
            return Ok(value);
        }
        cursor.eat("|");
        let (Expr::Int(a), Expr::Int(b)) = (&value, term(cursor)?) else {
            return Err(cursor.error("only numbers and flags can be joined by '|'"));
        };
        value = Expr::Int(a | b);
    }
}

fn term(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    if cursor.eat("...") {
        return Ok(Expr::Ellipsis);
    }
    if cursor.eat("[") {
        return Ok(Expr::List(list(cursor, "]")?));
    }
    if cursor.eat("{") {
        return fields(cursor);
    }
    if cursor.eat("\"") {
        return cursor.until("\"", "a string").map(|text| Expr::Text(text.to_owned()));
    }
    if cursor.eat("(") {
        let inner = expr(cursor)?;
        cursor.expect(")", "after '('")?;
        return Ok(inner);
    }
    if cursor.eat("-") {
        let Expr::Int(value) = term(cursor)? else { return Err(cursor.expected("a number after '-'")) };
        return Ok(Expr::Int(value.wrapping_neg()));
    }
    if cursor.eat("~") {
        let Expr::Int(value) = term(cursor)? else { return Err(cursor.expected("a number after '~'")) };
        return Ok(Expr::Int(!value));
    }
    if cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        return cursor.number("a number").map(Expr::Int);
    }
    let name = cursor.word("an argument")?;
    if name == "NULL" {
        return Ok(Expr::Null);
    }
    if let Some(value) = cursor.defines.get(name) {
        let value = value.clone();
        // A value that is no expression is text: a fast-open key, a name.
        let mut inner = cursor.within(&value);
        return match expr(&mut inner) {
            Ok(parsed) if inner.at_end() => Ok(parsed),
            _ => Ok(Expr::Text(value.clone())),
        };
    }
    if cursor.peek() == Some('(') {
        cursor.eat("(");
        return Ok(Expr::Apply(name.to_owned(), list(cursor, ")")?));
    }
    match constants::constant(name) {
        Some(value) => Ok(Expr::Int(value)),
        None => Err(cursor.unsupported(&format!("unknown constant '{name}'"))),
    }
}

fn fields(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let mut fields = Vec::new();
    while !cursor.eat("}") {
        if !fields.is_empty() {
            cursor.expect(",", "between members")?;
            if cursor.eat("}") {
                break;
            }
        }
        fields.push(field(cursor)?);
    }
    Ok(Expr::Struct(fields))
}

fn field(cursor: &mut Cursor<'_>) -> Parsed<Field> {
    // `name =` or `name(count) =`; anything else is a value alone.
    let mut ahead = cursor.clone();
    ahead.skip();
    let is_name = ahead.peek().is_some_and(|c| c.is_ascii_lowercase());
    if is_name && let Ok(name) = ahead.word("a name") {
        let mut count = None;
        if ahead.peek() == Some('(') {
            ahead.eat("(");
            if let Ok(value) = expr(&mut ahead)
                && ahead.eat(")")
            {
                count = Some(value);
            }
        }
        if ahead.eat("=") {
            let name = name.to_owned();
            *cursor = ahead;
            return Ok(Field { name, count, value: expr(cursor)? });
        }
    }
    Ok(Field { name: String::new(), count: None, value: expr(cursor)? })
}
