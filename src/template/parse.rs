//! Go's template notation read into a tree.
//!
//! What can be known without data is a fault here: functions, how many arguments they take, variables, templates, and
//! fields of what a template begins with.

use std::ops::Range;
use std::sync::Arc;

use super::expression::{self, Scope};
use super::functions::Function;
use super::tokens::{SPACE, Token, action_end, tokens};
use super::tree::{Arm, Node, Nodes, Parsed, Pipeline};

/// Blocks within each other; bounds the recursion.
const MAX_BLOCKS: usize = 32;

/// What is known where a template stands.
#[derive(Debug)]
pub(super) struct Language<'a> {
    pub functions: &'a [&'static [Function]],
    /// Variables that it has from the start.
    pub variables: &'a [&'static str],
    /// Fields of the `.` that it begins with; none where that may be anything.
    pub fields: Option<&'a [&'static str]>,
    /// What an author may look for, for messages: `$labels.NAME and $value`.
    pub known: &'static str,
    /// Whether it may name templates, and define some.
    pub has_templates: bool,
}

/// What is wrong with a template, and where in its text.
#[derive(Debug)]
pub(super) struct Fault {
    pub bytes: Range<usize>,
    pub message: String,
}

/// Reads a whole template.
pub(super) fn parse(text: &str, language: &Language<'_>) -> Result<Parsed, Fault> {
    let variables = language.variables.iter().map(|name| (*name).to_owned()).collect();
    let mut reader = Reader { language, parsed: Parsed::default(), open: Vec::new(), nodes: Vec::new(), variables };
    let (mut rest, mut trim_start) = (text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let trimming = after.strip_prefix('-').filter(|after| after.starts_with(SPACE));
        reader.text(before, trim_start, trimming.is_some());
        let after = trimming.unwrap_or(after);
        let start = text.len() - after.len();
        let fault = |end: usize, message: String| Fault { bytes: start..start + end, message };
        let end = action_end(after).ok_or_else(|| fault(1, "`{{` without its `}}`".to_owned()))?;
        let action = &after[..end];
        rest = &after[end + 2..];
        let trimmed = action.strip_suffix('-').filter(|action| action.ends_with(SPACE));
        trim_start = trimmed.is_some();
        reader.action(trimmed.unwrap_or(action).trim_matches(SPACE)).map_err(|message| fault(end, message))?;
    }
    reader.text(rest, trim_start, false);
    match reader.open.last() {
        Some(block) => {
            let message = format!("`{{{{ {} }}}}` without its `{{{{ end }}}}`", block.word());
            Err(Fault { bytes: text.len()..text.len(), message })
        }
        None => Ok(Parsed { nodes: reader.nodes, ..reader.parsed }),
    }
}

/// The labels that a template names, in order, each once.
pub(super) fn labels(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some(end) = action_end(after) else { break };
        let action = after[..end].trim_start_matches('-').trim_start();
        let tokens = if action.starts_with("/*") { Vec::new() } else { tokens(action).unwrap_or_default() };
        for token in tokens {
            let (Token::Path(path) | Token::Variable(path)) = token else { continue };
            let name = ["$labels.", "$.Labels.", ".Labels."].iter().find_map(|root| path.strip_prefix(root));
            if let Some(name) = name.filter(|name| !found.iter().any(|known| known == name)) {
                found.push(name.to_owned());
            }
        }
        rest = &after[end + 2..];
    }
    found
}

/// A block whose `end` has not come yet, and what was read before it.
#[derive(Debug)]
struct Open {
    kind: Opened,
    /// Nodes before it.
    before: Nodes,
    /// Variables before it, and those of them that an `else` knows.
    variables: usize,
    known_to_else: usize,
    /// Whether its dot is not what the template began with.
    moves_dot: bool,
    else_seen: bool,
}

#[derive(Debug)]
enum Opened {
    /// Arms that are complete, the condition of the one that is read.
    If {
        word: &'static str,
        arms: Vec<Arm>,
        condition: Option<(Pipeline, bool)>,
    },
    Range {
        over: Pipeline,
        body: Option<Nodes>,
    },
    /// `block`: where it is used, with which dot.
    Define {
        name: String,
        used: Option<Pipeline>,
        outer_variables: Vec<String>,
    },
}

impl Open {
    fn word(&self) -> &'static str {
        match &self.kind {
            Opened::If { word, .. } => word,
            Opened::Range { .. } => "range",
            Opened::Define { used: Some(_), .. } => "block",
            Opened::Define { .. } => "define",
        }
    }
}

struct Reader<'a> {
    language: &'a Language<'a>,
    parsed: Parsed,
    open: Vec<Open>,
    /// Those of the innermost open block.
    nodes: Nodes,
    variables: Vec<String>,
}

impl Reader<'_> {
    fn text(&mut self, text: &str, trim_start: bool, trim_end: bool) {
        let text = if trim_start { text.trim_start_matches(SPACE) } else { text };
        let text = if trim_end { text.trim_end_matches(SPACE) } else { text };
        if !text.is_empty() {
            self.nodes.push(Node::Text(text.into()));
        }
    }

    fn action(&mut self, action: &str) -> Result<(), String> {
        if action.starts_with("/*") {
            return if action.ends_with("*/") { Ok(()) } else { Err("a comment must end with `*/}}`".to_owned()) };
        }
        let tokens = tokens(action)?;
        let Some(first) = tokens.first() else { return Err("empty `{{ }}`".to_owned()) };
        let word = if let Token::Word(word) = first { word.as_str() } else { "" };
        match (word, &tokens[1..]) {
            ("if", rest) => self.open_if("if", rest),
            ("with", rest) => self.open_if("with", rest),
            ("range", rest) => self.open_range(rest),
            ("else", rest) => self.otherwise(action, rest),
            ("end", []) => self.close(action),
            ("break" | "continue", []) => self.leave_loop(word),
            ("define" | "block" | "template", _) if !self.language.has_templates => {
                Err(format!("`{word}` does not exist here; known are {}", self.language.known))
            }
            ("define", [Token::Text(name)]) => self.open_define(name, None),
            ("block", [Token::Text(name), rest @ ..]) => {
                let dot = self.pipeline(rest)?;
                self.open_define(name, Some(dot))
            }
            ("template", [Token::Text(name), rest @ ..]) => {
                let dot = if rest.is_empty() { None } else { Some(self.pipeline(rest)?) };
                self.nodes.push(Node::Template { name: name.clone(), dot });
                Ok(())
            }
            ("define" | "block" | "template", _) => Err(format!("cannot read `{{{{ {action} }}}}`: the name must be in quotes")),
            _ => {
                let value = self.pipeline(&tokens)?;
                let in_url = self.ends_within_url();
                self.nodes.push(if value.target.is_some() { Node::Set(value) } else { Node::Print { value, in_url } });
                Ok(())
            }
        }
    }

    /// Whether the text so far ends with `href="` or its like.
    fn ends_within_url(&self) -> bool {
        let Some(Node::Text(text)) = self.nodes.last() else { return false };
        let text = text.trim_end_matches(['"', '\'']);
        let Some(text) = text.trim_end_matches(SPACE).strip_suffix('=') else { return false };
        let text = text.trim_end_matches(SPACE).to_ascii_lowercase();
        ["href", "src", "action", "formaction", "background"].iter().any(|name| text.ends_with(name))
    }

    fn push_block(&mut self, kind: Opened, variables: usize, moves_dot: bool) -> Result<(), String> {
        if self.open.len() >= MAX_BLOCKS {
            return Err(format!("more than {MAX_BLOCKS} blocks within each other"));
        }
        let before = std::mem::take(&mut self.nodes);
        let moves_dot = moves_dot || self.open.last().is_some_and(|block| block.moves_dot);
        let known_to_else = if matches!(kind, Opened::If { .. }) { self.variables.len() } else { variables };
        self.open.push(Open { kind, before, variables, known_to_else, moves_dot, else_seen: false });
        Ok(())
    }

    fn open_if(&mut self, word: &'static str, tokens: &[Token]) -> Result<(), String> {
        let (variables, is_with) = (self.variables.len(), word == "with");
        let condition = Some((self.pipeline(tokens)?, is_with));
        self.push_block(Opened::If { word, arms: Vec::new(), condition }, variables, is_with)
    }

    fn open_range(&mut self, tokens: &[Token]) -> Result<(), String> {
        let variables = self.variables.len();
        let over = self.pipeline_with(tokens, 2)?;
        self.push_block(Opened::Range { over, body: None }, variables, true)
    }

    fn open_define(&mut self, name: &str, used: Option<Pipeline>) -> Result<(), String> {
        if used.is_none() && !self.open.is_empty() {
            return Err(format!("`{{{{ define \"{name}\" }}}}` stands within another block"));
        }
        let outer_variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        self.push_block(Opened::Define { name: name.to_owned(), used, outer_variables }, 1, true)
    }

    fn leave_loop(&mut self, word: &str) -> Result<(), String> {
        let within = self.open.iter().any(|block| matches!(block.kind, Opened::Range { .. }) && !block.else_seen);
        if !within {
            return Err(format!("`{{{{ {word} }}}}` outside of a `{{{{ range }}}}`"));
        }
        self.nodes.push(if word == "break" { Node::Break } else { Node::Continue });
        Ok(())
    }

    fn otherwise(&mut self, action: &str, rest: &[Token]) -> Result<(), String> {
        let without = || format!("`{{{{ {action} }}}}` without its `{{{{ if }}}}`");
        let block = self.open.last_mut().filter(|block| !matches!(block.kind, Opened::Define { .. })).ok_or_else(without)?;
        if block.else_seen {
            return Err("a second `{{ else }}`".to_owned());
        }
        let body = std::mem::take(&mut self.nodes);
        let again = match rest {
            [] => None,
            [Token::Word(word), condition @ ..] if word == "if" || word == "with" => Some((word == "with", condition)),
            _ => return Err(format!("cannot read `{{{{ {action} }}}}`")),
        };
        block.else_seen = again.is_none();
        match &mut block.kind {
            Opened::If { arms, condition, .. } => {
                arms.extend(condition.take().map(|(condition, is_with)| Arm { condition, is_with, body }));
            }
            Opened::Range { body: read, .. } if again.is_none() => *read = Some(body),
            _ => return Err(format!("cannot read `{{{{ {action} }}}}`: a `range` has a plain `{{{{ else }}}}`")),
        }
        self.variables.truncate(block.known_to_else);
        if again.is_none() {
            // The dot is the outer one again.
            let depth = self.open.len() - 1;
            let outer = depth > 0 && self.open[depth - 1].moves_dot;
            self.open[depth].moves_dot = outer;
        }
        let Some((is_with, tokens)) = again else { return Ok(()) };
        let read = self.pipeline(tokens)?;
        if let Some(Open { kind: Opened::If { condition, .. }, moves_dot, known_to_else, .. }) = self.open.last_mut() {
            *condition = Some((read, is_with));
            *moves_dot |= is_with;
            *known_to_else = self.variables.len();
        }
        Ok(())
    }

    fn close(&mut self, action: &str) -> Result<(), String> {
        let block = self.open.pop().ok_or_else(|| format!("`{{{{ {action} }}}}` without its `{{{{ if }}}}`"))?;
        let last = std::mem::replace(&mut self.nodes, block.before);
        self.variables.truncate(block.variables);
        match block.kind {
            Opened::If { mut arms, condition, .. } => {
                let otherwise = match condition {
                    Some((condition, is_with)) => {
                        arms.push(Arm { condition, is_with, body: last });
                        Vec::new()
                    }
                    None => last,
                };
                self.nodes.push(Node::If { arms, otherwise });
            }
            Opened::Range { over, body } => {
                let (body, otherwise) = match body {
                    Some(body) => (body, last),
                    None => (last, Vec::new()),
                };
                self.nodes.push(Node::Range { over, body, otherwise });
            }
            Opened::Define { name, used, outer_variables } => {
                self.variables = outer_variables;
                self.parsed.defined.insert(name.clone(), Arc::new(last));
                self.nodes.extend(used.map(|dot| Node::Template { name, dot: Some(dot) }));
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, tokens: &[Token]) -> Result<Pipeline, String> {
        self.pipeline_with(tokens, 1)
    }

    /// A whole action, with what it sets: at most `names` variables.
    fn pipeline_with(&mut self, tokens: &[Token], names: usize) -> Result<Pipeline, String> {
        let is_root = !self.open.iter().any(|block| matches!(block.kind, Opened::Define { .. }));
        let scope = Scope {
            language: self.language,
            variables: &self.variables,
            dot_is_root: is_root && self.open.last().is_none_or(|block| !block.moves_dot),
            dollar_is_root: is_root,
        };
        let pipeline = expression::pipeline(tokens, names, &scope)?;
        if let Some(target) = pipeline.target.as_ref().filter(|target| target.declares) {
            self.variables.extend(target.names.iter().cloned());
        }
        Ok(pipeline)
    }
}
