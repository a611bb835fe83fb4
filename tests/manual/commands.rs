// How the manuals are read: their `sh` blocks, as the commands in them. Two test crates include this file, since each
// parses the commands of one program: `tests/manual.rs` and `loadgen/src/arguments.rs`. No `//!` here: `include!` does
// not take one.

/// Manuals with command lines, from the root of the repository.
const MANUALS: [&str; 6] = [
    "README.md",
    "src/README.md",
    "src/OPERATING.md",
    "loadgen/README.md",
    "tests/README.md",
    "tests/questions.md",
];

/// Every call of `program` in the `sh` blocks of a manual, with the program's name as its first word.
fn calls_of(program: &str, manual: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for block in blocks_of("sh", manual) {
        for line in block.replace("\\\n", " ").lines() {
            for words in commands_of(line) {
                let named = words.first().map(|first| first.rsplit('/').next().unwrap_or(first));
                if named == Some(program) {
                    calls.push(words);
                }
            }
        }
    }
    calls
}

/// The texts between ```` ```LANGUAGE ```` and ```` ``` ````.
fn blocks_of(language: &str, manual: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in manual.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(tag), None) => open = Some((tag.trim() == language, String::new())),
            (Some(_), Some(_)) => {
                if let Some((true, text)) = open.take() {
                    blocks.push(text);
                }
            }
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The commands of a line, as words: quotes are taken off, comments, redirections and leading assignments left out. It
/// knows as much of a shell as the manuals need.
fn commands_of(line: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut words = Vec::new();
    let mut skips_next = false;
    for token in tokens_of(line) {
        match token {
            Token::End => commands.push(std::mem::take(&mut words)),
            Token::Redirection => skips_next = true,
            Token::Word(_) if std::mem::take(&mut skips_next) => {}
            Token::Word(word) if words.is_empty() && is_assignment(&word) => {}
            Token::Word(word) => words.push(word),
        }
    }
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

enum Token {
    Word(String),
    /// `&&`, `||`, `|`, `;` or `&`.
    End,
    /// `>` or `<`: a file follows.
    Redirection,
}

fn tokens_of(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '&' | '|' | ';' | '<' | '>') => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(match character {
                    '<' | '>' => Token::Redirection,
                    _ => Token::End,
                });
            }
            (None, _) if character.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    tokens.extend(word.map(Token::Word));
    tokens
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let is_of_name = |character: char| character.is_ascii_uppercase() || character == '_';
        !name.is_empty() && name.chars().all(is_of_name)
    })
}
