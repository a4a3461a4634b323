//! GRUB's script as words: quotes, variables, blocks.

use crate::menu::Variables;

/// A word, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// What the script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A command with its arguments.
    Words(Vec<Word>),
    /// The same, with a block behind it.
    Open(Vec<Word>),
    /// The block's end.
    Close,
}

impl Word {
    /// The word, with the values of variables in it; one that is not set is nothing.
    pub fn expand(&self, variables: &Variables) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text += match piece {
                Piece::Text(text) => text,
                Piece::Variable(name) => variables.get(name).map_or("", String::as_str),
            };
        }
        text
    }

    /// Whether it is this variable and nothing else.
    pub fn is(&self, variable: &str) -> bool {
        let name = variable.trim_start_matches('$');
        matches!(self.0.as_slice(), [Piece::Variable(only)] if only == name)
    }

    fn is_text(&self, text: &str) -> bool {
        matches!(self.0.as_slice(), [Piece::Text(only)] if only == text)
    }

    fn push(&mut self, char: char) {
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.push(char),
            _ => self.0.push(Piece::Text(char.into())),
        }
    }
}

/// Takes a script apart.
pub fn statements(script: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = script.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                // A line that goes on.
                Some('\n') | None => {}
                Some(char) => word.get_or_insert_default().push(char),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                // A title may be empty.
                word.0.push(Piece::Text(String::new()));
                chars.by_ref().take_while(|char| *char != '\'').for_each(|char| word.push(char));
            }
            '"' => {
                let word = word.get_or_insert_default();
                word.0.push(Piece::Text(String::new()));
                while let Some(char) = chars.next() {
                    match char {
                        '"' => break,
                        '\\' => word.push(chars.next().unwrap_or('\\')),
                        '$' => variable(&mut chars, word),
                        char => word.push(char),
                    }
                }
            }
            '$' => variable(&mut chars, word.get_or_insert_default()),
            '#' if word.is_none() => {
                // Up to the line's end, which ends the command too.
                while chars.next_if(|char| *char != '\n').is_some() {}
            }
            '{' if word.is_none() => statements.push(Statement::Open(std::mem::take(&mut words))),
            char if char.is_whitespace() || char == ';' => {
                words.extend(word.take());
                if matches!(char, '\n' | ';') {
                    end(&mut words, &mut statements);
                }
            }
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    end(&mut words, &mut statements);
    statements
}

/// Ends a command. A closing brace is one only where a command could be.
fn end(words: &mut Vec<Word>, statements: &mut Vec<Statement>) {
    while words.first().is_some_and(|word| word.is_text("}")) {
        statements.push(Statement::Close);
        words.remove(0);
    }
    // `menuentry … { linux …; }` on one line has it behind a semicolon, and some leave that out.
    let closes = words.last().is_some_and(|word| word.is_text("}"));
    if closes {
        words.pop();
    }
    if !words.is_empty() {
        statements.push(Statement::Words(std::mem::take(words)));
    }
    if closes {
        statements.push(Statement::Close);
    }
}

/// A variable, behind its dollar.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut Word) {
    let in_braces = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(char) =
        chars.next_if(|char| if in_braces { *char != '}' } else { char.is_alphanumeric() || *char == '_' })
    {
        name.push(char);
    }
    if in_braces {
        chars.next();
    }
    word.0.push(Piece::Variable(name));
}
