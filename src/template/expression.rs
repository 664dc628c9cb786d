//! What an action computes, read into a tree: `a | f b` is the call of `f` with `b` and `a`.

use super::functions::{self, Function};
use super::parse::Language;
use super::tokens::Token;
use super::tree::{Base, Command, Operand, Pipeline, Target};
use super::value::Value;
use crate::diag::nearest;

/// Parentheses within each other; bounds the recursion.
const MAX_DEPTH: usize = 32;

/// What is known where an action stands.
pub(super) struct Scope<'a> {
    pub language: &'a Language<'a>,
    pub variables: &'a [String],
    /// Whether `.` is what the template begins with.
    pub dot_is_root: bool,
    /// Whether `$` is.
    pub dollar_is_root: bool,
}

/// A whole action, with what it sets: at most `names` variables.
pub(super) fn pipeline(tokens: &[Token], names: usize, scope: &Scope<'_>) -> Result<Pipeline, String> {
    let (target, rest) = target(tokens, names)?;
    let assigned = target.iter().filter(|target| !target.declares).flat_map(|target| &target.names);
    if let Some(name) = assigned.into_iter().find(|name| !scope.variables.contains(name)) {
        return Err(format!("`{name} =` sets a variable that there is not; `{name} :=` makes one"));
    }
    let mut parser = Parser { tokens: rest, at: 0, depth: 0, scope };
    let commands = parser.commands()?;
    match rest.get(parser.at) {
        None => Ok(Pipeline { target, commands }),
        Some(Token::Close) => Err("parentheses do not match".to_owned()),
        Some(_) => Err("cannot read this action; functions come first: `humanize $value`".to_owned()),
    }
}

/// What an action sets, and the tokens after that.
fn target(tokens: &[Token], most: usize) -> Result<(Option<Target>, &[Token]), String> {
    let (names, sign, rest) = match tokens {
        [Token::Variable(name), sign @ (Token::Declare | Token::Assign), rest @ ..] => (vec![name], sign, rest),
        [Token::Variable(key), Token::Comma, Token::Variable(name), sign @ (Token::Declare | Token::Assign), rest @ ..] => {
            (vec![key, name], sign, rest)
        }
        _ => return Ok((None, tokens)),
    };
    if names.len() > most {
        return Err("two variables are set by `range` only".to_owned());
    }
    if let Some(bad) = names.iter().find(|name| name.len() < 2 || name.contains('.')) {
        return Err(format!("`{bad}` cannot be set"));
    }
    let target = Target { names: names.into_iter().cloned().collect(), declares: *sign == Token::Declare };
    Ok((Some(target), rest))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    scope: &'a Scope<'a>,
}

impl Parser<'_> {
    /// `command | command | ...`: each result is the last argument of the next.
    fn commands(&mut self) -> Result<Vec<Command>, String> {
        let mut commands = vec![self.command(false)?];
        while self.tokens.get(self.at) == Some(&Token::Pipe) {
            self.at += 1;
            commands.push(self.command(true)?);
        }
        Ok(commands)
    }

    /// A function or a method with its arguments, or a single value.
    fn command(&mut self, is_piped: bool) -> Result<Command, String> {
        if let Some(Token::Word(name)) = self.tokens.get(self.at).filter(|token| constant(token).is_none()) {
            self.at += 1;
            let function = self.function(name)?;
            let arguments = self.arguments()?;
            takes(function, arguments.len() + usize::from(is_piped))?;
            return Ok(Command { head: Operand { base: Base::Function(function), path: Vec::new() }, arguments });
        }
        let head = self.operand()?.ok_or("a value or a function is missing")?;
        let is_method = !head.path.is_empty();
        if is_piped && !is_method {
            return Err("after `|` a function is expected".to_owned());
        }
        let arguments = if is_method { self.arguments()? } else { Vec::new() };
        match self.tokens.get(self.at) {
            None | Some(Token::Pipe | Token::Close) => Ok(Command { head, arguments }),
            Some(Token::Word(word)) => Err(format!("unexpected `{word}`; functions come first: `humanize $value`")),
            Some(Token::Declare | Token::Assign) => Err("`=` has its place after a variable".to_owned()),
            Some(_) => Err("a value takes no arguments; functions come first: `humanize $value`".to_owned()),
        }
    }

    fn arguments(&mut self) -> Result<Vec<Operand>, String> {
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand()? {
            arguments.push(argument);
        }
        Ok(arguments)
    }

    /// One value, where there is one.
    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(token) = self.tokens.get(self.at) else { return Ok(None) };
        let (base, path) = match token {
            Token::Pipe | Token::Close | Token::Declare | Token::Assign => return Ok(None),
            Token::Comma => return Err("unexpected `,`".to_owned()),
            Token::Text(text) => (Base::Constant(Value::text(text)), Vec::new()),
            Token::Number(text) => (Base::Constant(number(text)?), Vec::new()),
            Token::Path(text) | Token::Member(text) => (Base::Dot, self.path(text)?),
            Token::Variable(text) => self.variable(text)?,
            token @ Token::Word(word) => match constant(token) {
                Some(value) => (Base::Constant(value), Vec::new()),
                None => return Err(self.misplaced(word)),
            },
            Token::Open => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("more than {MAX_DEPTH} parentheses within each other"));
                }
                self.at += 1;
                let commands = self.commands()?;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return Err("parentheses do not match".to_owned());
                }
                self.depth -= 1;
                let path = match self.tokens.get(self.at + 1) {
                    Some(Token::Member(text)) => {
                        self.at += 1;
                        members(text)?
                    }
                    _ => Vec::new(),
                };
                (Base::Pipeline(Box::new(Pipeline { target: None, commands })), path)
            }
        };
        self.at += 1;
        Ok(Some(Operand { base, path }))
    }

    fn misplaced(&self, word: &str) -> String {
        let known = self.scope.language.functions.iter().copied().flatten().any(|function| function.name == word);
        if known { format!("write the call of `{word}` in parentheses") } else { format!("cannot read `{word}` here") }
    }

    fn path(&self, text: &str) -> Result<Vec<String>, String> {
        let path = members(text)?;
        if self.scope.dot_is_root {
            self.check_field(text, &path)?;
        }
        Ok(path)
    }

    /// A field of what the template begins with.
    fn check_field(&self, text: &str, path: &[String]) -> Result<(), String> {
        let Language { fields, known, .. } = self.scope.language;
        let (Some(fields), Some(first)) = (fields, path.first()) else { return Ok(()) };
        if fields.contains(&first.as_str()) {
            return Ok(());
        }
        Err(match nearest(first, fields.iter().copied()) {
            Some(near) => format!("`{text}` does not exist here; did you mean `.{near}`?"),
            None => format!("`{text}` does not exist here; known are {known}"),
        })
    }

    fn variable(&self, text: &str) -> Result<(Base, Vec<String>), String> {
        let (name, rest) = text.split_once('.').map_or((text, None), |(name, rest)| (name, Some(rest)));
        if !self.scope.variables.iter().any(|known| known == name) {
            return Err(format!("`{text}` does not exist here; known are {}", self.scope.language.known));
        }
        let path = rest.map_or(Ok(Vec::new()), |rest| members(&format!(".{rest}")))?;
        if name == "$" && self.scope.dollar_is_root {
            self.check_field(text, &path)?;
        }
        Ok((Base::Variable(name.to_owned()), path))
    }

    fn function(&self, name: &str) -> Result<&'static Function, String> {
        let known = || self.scope.language.functions.iter().copied().flatten();
        if let Some(function) = known().find(|function| function.name == name) {
            return Ok(function);
        }
        if functions::NOT_HERE.contains(&name) {
            return Err(format!("`{name}` does not exist here; known are {}", self.scope.language.known));
        }
        let names = || known().map(|function| function.name);
        Err(match nearest(name, names()) {
            Some(near) => format!("unknown function `{name}`; did you mean `{near}`?"),
            None => format!("unknown function `{name}`; known are {}", names().collect::<Vec<_>>().join(", ")),
        })
    }
}

fn takes(function: &Function, found: usize) -> Result<(), String> {
    if function.takes.contains(&found) {
        return Ok(());
    }
    let (least, most) = (function.takes.start(), function.takes.end());
    let wanted = if least == most { format!("{least}") } else { format!("{least} or more") };
    Err(format!("`{}` takes {wanted} argument(s), found {found}", function.name))
}

/// The names of `.A.B`; none for `.`.
fn members(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = match text.strip_prefix('.') {
        Some("") | None => Vec::new(),
        Some(names) => names.split('.').map(str::to_owned).collect(),
    };
    let is_name = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if names.len() > MAX_DEPTH || !names.iter().all(is_name) {
        return Err(format!("cannot read `{text}`; a name with other signs is had by `index .Labels \"my-label\"`"));
    }
    Ok(names)
}

fn constant(token: &Token) -> Option<Value> {
    let Token::Word(word) = token else { return None };
    match word.as_str() {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "nil" => Some(Value::Nil),
        _ => None,
    }
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Value::Whole(whole));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Value::Number(value)),
        _ => Err(format!("`{text}` is no number")),
    }
}
