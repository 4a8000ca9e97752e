//! The blocks of a Prisma schema.

use super::tokens::{Fault, Token, cut};

/// A block with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Its fields; of an enum, its values, which have no type.
    pub(super) fields: Vec<Field>,
    attributes: Vec<Attribute>,
}

/// A sort of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Type,
    Enum,
}

/// A field, or a value of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// The name of its type, without `?` and `[]`.
    pub(super) kind: String,
    pub(super) list: bool,
    pub(super) optional: bool,
    attributes: Vec<Attribute>,
}

/// An attribute: `@relation(fields: [a], references: [id])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    name: String,
    arguments: Vec<(Option<String>, Expression)>,
}

/// An argument of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Text(String),
    Word(String),
    /// A function, whose arguments say nothing here.
    Call(String),
    List(Vec<Expression>),
}

impl Block {
    /// The name of the collection.
    pub(super) fn stored(&self) -> &str {
        mapped(&self.attributes).unwrap_or(&self.name)
    }
}

impl Field {
    /// The name in documents; of an enum's value, the text.
    pub(super) fn stored(&self) -> &str {
        mapped(&self.attributes).unwrap_or(&self.name)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.attributes, name)
    }

    /// The argument of `@default`.
    pub(super) fn default(&self) -> Option<&Expression> {
        self.attribute("default")?.arguments.first().map(|(_, value)| value)
    }
}

impl Attribute {
    /// The names of a list: `fields: [a, b]`.
    pub(super) fn names<'a>(&'a self, argument: &str) -> Vec<&'a str> {
        let list = self.arguments.iter().find(|(name, _)| name.as_deref() == Some(argument));
        let Some((_, Expression::List(list))) = list else { return Vec::new() };
        let word = |one: &'a Expression| match one {
            Expression::Word(word) => Some(word.as_str()),
            _ => None,
        };
        list.iter().filter_map(word).collect()
    }
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name == name)
}

fn mapped(attributes: &[Attribute]) -> Option<&str> {
    match find(attributes, "map")?.arguments.first() {
        Some((_, Expression::Text(text))) => Some(text),
        _ => None,
    }
}

/// Reads the blocks of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Block>, Fault> {
    let mut parser = Parser { tokens: cut(text)?, at: 0 };
    let mut blocks = Vec::new();
    loop {
        parser.skip_ends();
        let Some(token) = parser.next() else { return Ok(blocks) };
        let kind = match &token {
            Token::Word(word) => match word.as_str() {
                "model" | "view" => Some(Kind::Model),
                "type" => Some(Kind::Type),
                "enum" => Some(Kind::Enum),
                "datasource" | "generator" => None,
                other => {
                    return Err(
                        parser.fault(format!("know `{other}`: a block begins with model, type, enum or datasource"))
                    );
                }
            },
            _ => return Err(parser.fault("find the beginning of a block".to_owned())),
        };
        let name = parser.word("the name of the block")?;
        parser.mark('{')?;
        match kind {
            Some(kind) => blocks.push(parser.block(kind, name)?),
            None => parser.settings()?,
        }
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    /// A fault at the last token that was read.
    fn fault(&self, what: String) -> Fault {
        let last = self.at.saturating_sub(1).min(self.tokens.len().saturating_sub(1));
        Fault { line: self.tokens.get(last).map_or(1, |(_, line)| *line), what }
    }

    fn skip_ends(&mut self) {
        while self.peek() == Some(&Token::End) {
            self.at += 1;
        }
    }

    fn has(&mut self, mark: char) -> bool {
        let has = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(has);
        has
    }

    fn mark(&mut self, mark: char) -> Result<(), Fault> {
        if self.has(mark) { Ok(()) } else { Err(self.fault(format!("find a `{mark}`"))) }
    }

    fn word(&mut self, what: &str) -> Result<String, Fault> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.fault(format!("find {what}"))),
        }
    }

    /// The settings of a datasource or a generator; the database must be MongoDB.
    fn settings(&mut self) -> Result<(), Fault> {
        loop {
            match self.next() {
                None => return Err(self.fault("find a `}`".to_owned())),
                Some(Token::Mark('}')) => return Ok(()),
                Some(Token::Word(word)) if word == "provider" && self.has('=') => match self.next() {
                    Some(Token::Text(other))
                        if ["postgresql", "postgres", "mysql", "sqlite", "sqlserver", "cockroachdb"]
                            .contains(&other.as_str()) =>
                    {
                        return Err(self.fault(format!(
                            "use a schema for {other}: only one for mongodb says what its documents have"
                        )));
                    }
                    _ => {}
                },
                Some(_) => {}
            }
        }
    }

    fn block(&mut self, kind: Kind, name: String) -> Result<Block, Fault> {
        let mut block = Block { kind, name, fields: Vec::new(), attributes: Vec::new() };
        loop {
            self.skip_ends();
            if self.has('}') {
                return Ok(block);
            }
            if self.has('@') {
                self.mark('@')?;
                block.attributes.push(self.attribute()?);
            } else if self.peek().is_none() {
                return Err(self.fault("find a `}`".to_owned()));
            } else {
                block.fields.push(self.field(kind)?);
            }
        }
    }

    fn field(&mut self, kind: Kind) -> Result<Field, Fault> {
        let name = self.word("a field")?;
        let mut field = Field { name, kind: String::new(), list: false, optional: false, attributes: Vec::new() };
        if kind != Kind::Enum {
            field.kind = self.word(&format!("the type of field {}", field.name))?;
            if self.has('(') {
                // The type of another database: `Unsupported("…")`.
                self.arguments()?;
            }
            if self.has('[') {
                self.mark(']')?;
                field.list = true;
            }
            field.optional = self.has('?');
        }
        while self.has('@') {
            field.attributes.push(self.attribute()?);
        }
        match self.peek() {
            None | Some(Token::End | Token::Mark('}')) => Ok(field),
            Some(_) => {
                self.at += 1;
                Err(self.fault(format!("find the end of field {}", field.name)))
            }
        }
    }

    fn attribute(&mut self) -> Result<Attribute, Fault> {
        let name = self.word("the name of an attribute")?;
        let arguments = if self.has('(') { self.arguments()? } else { Vec::new() };
        Ok(Attribute { name, arguments })
    }

    /// The arguments behind a `(`.
    fn arguments(&mut self) -> Result<Vec<(Option<String>, Expression)>, Fault> {
        let mut arguments = Vec::new();
        loop {
            self.skip_ends();
            if self.has(')') {
                return Ok(arguments);
            }
            let value = self.expression()?;
            let argument = match value {
                Expression::Word(name) if self.has(':') => (Some(name), self.expression()?),
                value => (None, value),
            };
            arguments.push(argument);
            self.skip_ends();
            self.has(',');
        }
    }

    fn expression(&mut self) -> Result<Expression, Fault> {
        self.skip_ends();
        match self.next() {
            Some(Token::Text(text)) => Ok(Expression::Text(text)),
            Some(Token::Word(word)) if self.has('(') => self.arguments().map(|_| Expression::Call(word)),
            Some(Token::Word(word)) => Ok(Expression::Word(word)),
            Some(Token::Mark('[')) => {
                let mut list = Vec::new();
                loop {
                    self.skip_ends();
                    if self.has(']') {
                        return Ok(Expression::List(list));
                    }
                    list.push(self.expression()?);
                    self.skip_ends();
                    self.has(',');
                }
            }
            _ => Err(self.fault("find an argument".to_owned())),
        }
    }
}
