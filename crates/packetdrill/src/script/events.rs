//! Option lines, times, and which kind of action a line holds.

use super::calls;
use super::code::Code;
use super::cursor::{Cursor, Parsed};
use super::packets;
use super::{Action, Defines, Event, OptionLine, Script, Time};

pub(super) fn options(name: &str, text: &str) -> Parsed<Vec<OptionLine>> {
    let defines = Defines::new();
    option_lines(&mut Cursor::new(name, text, 1, &defines))
}

fn option_lines(cursor: &mut Cursor<'_>) -> Parsed<Vec<OptionLine>> {
    let mut options = Vec::new();
    loop {
        cursor.skip();
        let line = cursor.line();
        let rest = cursor.rest();
        let text = if rest.starts_with("-D") {
            cursor.eat("-D");
            cursor.skip_blanks();
            "define="
        } else if cursor.eat("--") {
            ""
        } else {
            return Ok(options);
        };
        let start = cursor.pos();
        while cursor.peek().is_some_and(|c| !c.is_whitespace()) {
            cursor.bump();
        }
        let text = format!("{text}{}", cursor.since(start));
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(cursor.error(&format!("an option is --name=value, not '--{text}'")));
        }
        options.push(OptionLine { line, name: name.replace('-', "_"), value: value.to_owned() });
    }
}

pub(super) fn parse(name: &str, text: &str, defines: &Defines) -> Parsed<Script> {
    let options = options(name, text)?;
    let mut all = defines.clone();
    for option in options.iter().filter(|option| option.name == "define") {
        let Some((key, value)) = option.value.split_once('=') else {
            let mut error = Cursor::new(name, text, option.line, defines)
                .error(&format!("a define is NAME=VALUE, not '{}'", option.value));
            error.line = option.line;
            return Err(error);
        };
        all.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    let mut cursor = Cursor::new(name, text, 1, &all);
    option_lines(&mut cursor)?;
    let setup = command(&mut cursor)?;
    let mut events = Vec::new();
    let mut cleanup = None;
    while !cursor.at_end() {
        if cursor.looks_at("`") {
            cleanup = command(&mut cursor)?;
            if !cursor.at_end() {
                return Err(cursor.expected("the end of the script after its last command"));
            }
        } else {
            events.push(event(&mut cursor)?);
        }
    }
    if events.is_empty() && setup.is_none() {
        return Err(cursor.error("the script has no events"));
    }
    Ok(Script { name: name.to_owned(), options, setup, events, cleanup })
}

fn command(cursor: &mut Cursor<'_>) -> Parsed<Option<(usize, String)>> {
    let line = {
        cursor.skip();
        cursor.line()
    };
    if !cursor.eat("`") {
        return Ok(None);
    }
    Ok(Some((line, cursor.until("`", "a shell command")?.trim().to_owned())))
}

fn event(cursor: &mut Cursor<'_>) -> Parsed<Event> {
    let line = cursor.line();
    let time = time(cursor)?;
    cursor.skip();
    let start = cursor.pos();
    let action = action(cursor)?;
    if matches!(time, Time::Blocking(..) | Time::RelativeBlocking(..)) && !matches!(action, Action::Call(_)) {
        return Err(cursor.error("only a system call has a time when it begins and one when it returns"));
    }
    let text = cursor.since(start).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Event { line, time, action, text })
}

fn time(cursor: &mut Cursor<'_>) -> Parsed<Time> {
    if cursor.eat("*") {
        return Ok(Time::Any);
    }
    let relative = cursor.eat("+");
    let from = cursor.seconds().map_err(|mut error| {
        error.message =
            error.message.replace("a time in seconds", "a time ('0.1', '+.1', '*') at the start of an event");
        error
    })?;
    if cursor.rest().starts_with("...") {
        cursor.eat("...");
        let to = cursor.seconds()?;
        if to < from {
            return Err(cursor.error("a call cannot return before it begins"));
        }
        return Ok(if relative { Time::RelativeBlocking(from, to) } else { Time::Blocking(from, to) });
    }
    cursor.skip_blanks();
    if !cursor.rest().starts_with('~') {
        return Ok(if relative { Time::Relative(from) } else { Time::Absolute(from) });
    }
    cursor.eat("~");
    cursor.skip_blanks();
    if cursor.eat("+") != relative {
        return Err(cursor.error("both ends of a range are absolute, or both are relative ('+.1~+.2')"));
    }
    let to = cursor.seconds()?;
    if to < from {
        return Err(cursor.error("the range of times ends before it begins"));
    }
    Ok(if relative { Time::RelativeRange(from, to) } else { Time::AbsoluteRange(from, to) })
}

fn action(cursor: &mut Cursor<'_>) -> Parsed<Action> {
    if cursor.eat("`") {
        return Ok(Action::Command(cursor.until("`", "a shell command")?.trim().to_owned()));
    }
    if cursor.eat("%{") {
        let line = cursor.line();
        let text = cursor.until("}%", "a block of code")?;
        return Code::parse(text, line)
            .map(Action::Code)
            .map_err(|(line, message)| super::ParseError { line, ..cursor.unsupported(&message) });
    }
    if cursor.eat("<") {
        return packets::packet(cursor, true).map(Action::Inject);
    }
    if cursor.eat(">") {
        return packets::packet(cursor, false).map(Action::Expect);
    }
    if cursor.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
        return calls::call(cursor).map(Action::Call);
    }
    Err(cursor.expected("a packet ('<' in, '>' out), a system call, '`' or '%{'"))
}
