//! Shell commands of scripts, as far as a stack without a shell can follow them.

/// A simple command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `sysctl NAME=VALUE`, `echo VALUE > /proc/sys/...`.
    Set(String, String),
    /// The helper `defaults.sh`: the settings with which a stack begins.
    Defaults,
    /// `sleep SECONDS`, in microseconds.
    Sleep(i64),
    /// `ss -K`: an administrator ends all connections and listeners.
    Kill,
    /// `ip tcp_metrics flush`: what is known of servers is forgotten.
    FlushMetrics,
    /// Nothing that a script sees depends on it.
    Nothing,
    /// Anything else.
    Unknown(String),
}

/// Cuts a text into simple commands.
pub(super) fn read(text: &str) -> Vec<Command> {
    simple(text).iter().flat_map(|words| one(words)).collect()
}

/// The text without calls of `defaults.sh`.
pub(super) fn without_defaults(text: &str) -> String {
    let calls_it = |part: &&str| part.split_whitespace().next().is_none_or(|word| !is_defaults(word));
    let line = |line: &str| line.split("&&").filter(calls_it).collect::<Vec<_>>().join("&&");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_defaults(word: &str) -> bool {
    word.rsplit('/').next() == Some("defaults.sh")
}

/// Words of each simple command; quotes are taken off.
fn simple(text: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') if chars.peek() == Some(&'\n') => {
                chars.next();
            }
            (None, '#') if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, '\n' | ';' | '&') => {
                commands.last_mut().into_iter().for_each(|words| words.extend(word.take()));
                commands.push(Vec::new());
            }
            (None, '>') => {
                let words = commands.last_mut();
                words
                    .into_iter()
                    .for_each(|words| words.extend(word.take().into_iter().chain([">".to_owned()])));
            }
            (None, _) if c.is_whitespace() => {
                commands.last_mut().into_iter().for_each(|words| words.extend(word.take()));
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().into_iter().for_each(|words| words.extend(word.take()));
    commands.retain(|words| !words.is_empty());
    commands
}

fn one(words: &[String]) -> Vec<Command> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let unknown = || vec![Command::Unknown(words.join(" "))];
    match words.as_slice() {
        ["true" | ":"] | ["ethtool", "-K", ..] | ["set", "-e"] => vec![Command::Nothing],
        [name, ..] if is_defaults(name) => vec![Command::Defaults],
        ["ss", "-K", "-t", "-a"] => vec![Command::Kill],
        ["ip", "tcp_metrics" | "tcpmetrics", "flush", ..] => vec![Command::FlushMetrics],
        ["sleep", time] => match time.parse::<f64>() {
            Ok(time) if (0.0..1e9).contains(&time) => vec![Command::Sleep((time * 1e6) as i64)],
            _ => unknown(),
        },
        ["echo", value @ .., ">", file] if file.starts_with("/proc/sys/") => {
            vec![Command::Set((*file).to_owned(), value.join(" "))]
        }
        ["sysctl", args @ ..] => {
            let settings =
                args.iter().filter(|arg| !arg.starts_with('-')).map(|arg| match arg.split_once('=') {
                    Some((name, value)) => Command::Set(name.trim().to_owned(), value.trim().to_owned()),
                    None => Command::Unknown(format!("sysctl {arg}")),
                });
            settings.collect()
        }
        _ => unknown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_in_shell_commands() {
        let set = |name: &str, value: &str| Command::Set(name.into(), value.into());
        let text = "../common/defaults.sh\nsysctl -q net.ipv4.tcp_a=1 net.ipv4.tcp_rmem=\"1 2 3\" && \
                    echo 5 > /proc/sys/net/ipv4/tcp_b # why\nsleep 0.5; true\n";
        let expected = [
            Command::Defaults,
            set("net.ipv4.tcp_a", "1"),
            set("net.ipv4.tcp_rmem", "1 2 3"),
            set("/proc/sys/net/ipv4/tcp_b", "5"),
            Command::Sleep(500_000),
            Command::Nothing,
        ];
        assert_eq!(read(text), expected);
        assert_eq!(read("tc qdisc add"), [Command::Unknown("tc qdisc add".into())]);
        assert_eq!(without_defaults("./defaults.sh\n./x/defaults.sh && tc a\nb").trim(), "tc a\nb");
    }
}
