//! The statements that scripts put between `%{` and `}%`: `assert`, `print` and assignments over the fields of
//! `TCP_INFO`. The forms of Python that assertions use are evaluated here; anything else is reported as unsupported.

mod eval;
mod read;

pub(crate) use eval::Stop;
pub use eval::Value;

/// An operator of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Their names say it.
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    BitOr,
    BitXor,
    BitAnd,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A literal.
    Constant(Value),
    /// A field, a constant, or something assigned before.
    Name(String),
    /// `not`.
    Not(Box<Term>),
    /// `-`.
    Negative(Box<Term>),
    /// `~`.
    Invert(Box<Term>),
    /// Two sides.
    Binary(Operator, Box<Term>, Box<Term>),
    /// `a < b <= c`.
    Chain(Box<Term>, Vec<(Operator, Term)>),
    /// `abs(x)`, `min(a, b)`, `max(a, b)`, `int(x)`, `str(x)`.
    Apply(String, Vec<Term>),
    /// `a, b`: only in `print`, as a message, and behind `%`.
    Tuple(Vec<Term>),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `assert CONDITION, MESSAGE`.
    Assert {
        /// What has to be true.
        condition: Term,
        /// What is said if it is not.
        message: Option<Term>,
        /// Line in the script.
        line: usize,
        /// As it is written.
        text: String,
    },
    /// `print(...)`.
    Print(Term),
    /// `name = EXPRESSION`.
    Assign(String, Term),
}

/// A block of code.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    /// Its statements.
    pub statements: Vec<Statement>,
}

impl Code {
    /// Reads a block that begins in `line` of its script.
    ///
    /// # Errors
    /// The line of the first statement that is not known here, and why.
    pub fn parse(text: &str, line: usize) -> Result<Self, (usize, String)> {
        read::statements(text, line).map(|statements| Self { statements })
    }

    /// Whether a block uses a name.
    #[must_use]
    pub fn uses(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        self.statements.iter().any(|statement| match statement {
            Statement::Assert { condition, message, .. } => {
                condition.uses(wanted) || message.as_ref().is_some_and(|message| message.uses(wanted))
            }
            Statement::Print(term) | Statement::Assign(_, term) => term.uses(wanted),
        })
    }
}

impl Term {
    fn uses(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Name(name) => wanted(name),
            Self::Not(inner) | Self::Negative(inner) | Self::Invert(inner) => inner.uses(wanted),
            Self::Binary(_, a, b) => a.uses(wanted) || b.uses(wanted),
            Self::Chain(first, rest) => first.uses(wanted) || rest.iter().any(|(_, term)| term.uses(wanted)),
            Self::Apply(_, terms) | Self::Tuple(terms) => terms.iter().any(|term| term.uses(wanted)),
        }
    }
}
