//! What statements come to.

use super::{Code, Operator, Statement, Term};
use std::collections::BTreeMap;
use std::fmt;

/// A value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// True or false.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
        }
    }
}

/// Why a block stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An assertion does not hold: its line, and what was asserted with the values.
    Failed(usize, String),
    /// Something that is not known here.
    Unknown(String),
}

type Evaluated = Result<Value, String>;

impl Code {
    /// Carries out a block. `names` gives fields and constants; `variables` keeps what was assigned; printed lines come back.
    pub(crate) fn run(
        &self,
        names: &dyn Fn(&str) -> Option<i64>,
        variables: &mut BTreeMap<String, Value>,
    ) -> Result<Vec<String>, Stop> {
        let mut printed = Vec::new();
        for statement in &self.statements {
            let scope = Scope { names, variables };
            match statement {
                Statement::Assert { condition, message, line, text } => {
                    if !truth(&scope.value(condition).map_err(Stop::Unknown)?) {
                        let mut why = format!("'{text}' does not hold ({})", scope.seen(condition));
                        if let Some(message) = message {
                            why = format!("{why}: {}", scope.joined(message).map_err(Stop::Unknown)?);
                        }
                        return Err(Stop::Failed(*line, why));
                    }
                }
                Statement::Print(term) => printed.push(scope.joined(term).map_err(Stop::Unknown)?),
                Statement::Assign(name, term) => {
                    let value = scope.value(term).map_err(Stop::Unknown)?;
                    variables.insert(name.clone(), value);
                }
            }
        }
        Ok(printed)
    }
}

struct Scope<'a> {
    names: &'a dyn Fn(&str) -> Option<i64>,
    variables: &'a BTreeMap<String, Value>,
}

impl Scope<'_> {
    fn named(&self, name: &str) -> Evaluated {
        let value = self.variables.get(name).cloned().or_else(|| (self.names)(name).map(Value::Int));
        value.ok_or_else(|| format!("the name '{name}' is not known"))
    }

    /// Names of an expression with their values, for the message of an assertion.
    fn seen(&self, term: &Term) -> String {
        let names = std::cell::RefCell::new(Vec::<String>::new());
        term.uses(&|name| {
            let mut names = names.borrow_mut();
            let shown = self.named(name).map(|value| format!("{name} is {value}"));
            if let Ok(shown) = shown
                && !names.contains(&shown)
            {
                names.push(shown);
            }
            false
        });
        names.into_inner().join(", ")
    }

    fn joined(&self, term: &Term) -> Result<String, String> {
        match term {
            Term::Tuple(terms) => {
                let values: Result<Vec<_>, _> = terms.iter().map(|term| self.joined(term)).collect();
                values.map(|values| values.join(" "))
            }
            term => self.value(term).map(|value| value.to_string()),
        }
    }

    fn value(&self, term: &Term) -> Evaluated {
        Ok(match term {
            Term::Constant(value) => value.clone(),
            Term::Name(name) => self.named(name)?,
            Term::Not(inner) => Value::Bool(!truth(&self.value(inner)?)),
            Term::Negative(inner) => match self.value(inner)? {
                Value::Float(value) => Value::Float(-value),
                value => Value::Int(whole(&value)?.wrapping_neg()),
            },
            Term::Invert(inner) => Value::Int(!whole(&self.value(inner)?)?),
            Term::Binary(Operator::Or, a, b) => {
                let a = self.value(a)?;
                if truth(&a) { a } else { self.value(b)? }
            }
            Term::Binary(Operator::And, a, b) => {
                let a = self.value(a)?;
                if truth(&a) { self.value(b)? } else { a }
            }
            Term::Binary(Operator::Modulo, a, b) if matches!(self.value(a)?, Value::Text(_)) => {
                self.format(&self.value(a)?.to_string(), b)?
            }
            Term::Binary(operator, a, b) => binary(*operator, &self.value(a)?, &self.value(b)?)?,
            Term::Chain(first, rest) => {
                let mut left = self.value(first)?;
                for (operator, right) in rest {
                    let right = self.value(right)?;
                    if !truth(&binary(*operator, &left, &right)?) {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Term::Apply(name, terms) => {
                let values: Result<Vec<_>, _> = terms.iter().map(|term| self.value(term)).collect();
                apply(name, &values?)?
            }
            Term::Tuple(_) => return Err("a list of values has no single value".into()),
        })
    }

    /// Text `%` values: each `%` with letters and digits behind it takes one.
    fn format(&self, text: &str, values: &Term) -> Evaluated {
        let terms = match values {
            Term::Tuple(terms) => terms.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut values = terms.iter();
        let mut out = String::new();
        let mut parts = text.split('%');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
            let value = values.next().ok_or("fewer values than places in a text")?;
            out.push_str(&self.value(value)?.to_string());
            out.push_str(part.get(end..).unwrap_or_default());
        }
        Ok(Value::Text(out))
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::Bool(value) => *value,
    }
}

fn whole(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Bool(value) => Ok(i64::from(*value)),
        other => Err(format!("'{other}' is not a whole number")),
    }
}

fn real(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        other => whole(other).map(|value| value as f64),
    }
}

fn binary(operator: Operator, a: &Value, b: &Value) -> Evaluated {
    use Operator as O;
    use std::cmp::Ordering;
    let order = match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Text(_), _) | (_, Value::Text(_)) => None,
        (Value::Float(_), _) | (_, Value::Float(_)) => real(a)?.partial_cmp(&real(b)?),
        _ => Some(whole(a)?.cmp(&whole(b)?)),
    };
    let compared = match operator {
        O::Equal => Some(order == Some(Ordering::Equal)),
        O::NotEqual => Some(order != Some(Ordering::Equal)),
        O::Less => Some(order == Some(Ordering::Less)),
        O::LessEqual => Some(matches!(order, Some(Ordering::Less | Ordering::Equal))),
        O::Greater => Some(order == Some(Ordering::Greater)),
        O::GreaterEqual => Some(matches!(order, Some(Ordering::Greater | Ordering::Equal))),
        _ => None,
    };
    if let Some(compared) = compared {
        return Ok(Value::Bool(compared));
    }
    if let (O::Add, Value::Text(a), Value::Text(b)) = (operator, a, b) {
        return Ok(Value::Text(format!("{a}{b}")));
    }
    let float = matches!(a, Value::Float(_)) || matches!(b, Value::Float(_)) || operator == O::Divide;
    if float { reals(operator, real(a)?, real(b)?) } else { wholes(operator, whole(a)?, whole(b)?) }
}

fn reals(operator: Operator, a: f64, b: f64) -> Evaluated {
    use Operator as O;
    if b == 0.0 && matches!(operator, O::Divide | O::FloorDivide | O::Modulo) {
        return Err("division by zero".into());
    }
    Ok(Value::Float(match operator {
        O::Add => a + b,
        O::Subtract => a - b,
        O::Multiply => a * b,
        O::Divide => a / b,
        O::FloorDivide => (a / b).floor(),
        O::Modulo => a - b * (a / b).floor(),
        _ => return Err("bits of a number with a fraction".into()),
    }))
}

fn wholes(operator: Operator, a: i64, b: i64) -> Evaluated {
    use Operator as O;
    let shift = u32::try_from(b).ok();
    // Python rounds towards minus infinity.
    let floor = || a.checked_div(b).map(|q| if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q });
    let value = match operator {
        O::Add => a.checked_add(b),
        O::Subtract => a.checked_sub(b),
        O::Multiply => a.checked_mul(b),
        O::FloorDivide => floor(),
        O::Modulo => floor().and_then(|q| a.checked_sub(q.checked_mul(b)?)),
        O::BitOr => Some(a | b),
        O::BitXor => Some(a ^ b),
        O::BitAnd => Some(a & b),
        O::ShiftLeft => shift.and_then(|by| a.checked_shl(by)),
        O::ShiftRight => shift.and_then(|by| a.checked_shr(by)),
        _ => None,
    };
    value.map(Value::Int).ok_or_else(|| "a number too large, or division by zero".into())
}

fn apply(name: &str, values: &[Value]) -> Evaluated {
    let best = |wanted: Operator| {
        let mut values = values.iter();
        let mut best = values.next().cloned().ok_or_else(|| format!("{name}() of nothing"))?;
        for value in values {
            if truth(&binary(wanted, value, &best)?) {
                best = value.clone();
            }
        }
        Ok(best)
    };
    match (name, values) {
        ("min", _) => best(Operator::Less),
        ("max", _) => best(Operator::Greater),
        ("abs", [Value::Float(value)]) => Ok(Value::Float(value.abs())),
        ("abs", [value]) => whole(value).map(|value| Value::Int(value.wrapping_abs())),
        ("int", [Value::Float(value)]) => Ok(Value::Int(*value as i64)),
        ("int", [value]) => whole(value).map(Value::Int),
        ("float", [value]) => real(value).map(Value::Float),
        ("str", [value]) => Ok(Value::Text(value.to_string())),
        ("bool", [value]) => Ok(Value::Bool(truth(value))),
        _ => Err(format!("{name}() takes another number of values")),
    }
}
