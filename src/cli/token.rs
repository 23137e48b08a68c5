//! `enrgdaq token`: who may use the REST API of the supervisor of this folder.

use std::io::Write;
use std::process::ExitCode;

use super::CliError;
use super::args::{Target, TokenCommand};
use super::ask::state_dir;
use crate::control::tokens::Tokens;

pub(super) fn token(target: &Target, command: TokenCommand) -> Result<ExitCode, CliError> {
    let tokens = Tokens::of(&state_dir(target, "token")?);
    match command {
        TokenCommand::Add { name, role } => {
            // Alone on stdout, for whoever puts it into a file.
            println!("{}", tokens.add(&name, role)?);
            eprintln!("{name} is {role} with this token; it is shown only now");
        }
        TokenCommand::Rm { name } => {
            tokens.remove(&name)?;
            println!("{name}: removed");
        }
        TokenCommand::List { json } => {
            let tokens = tokens.load()?;
            let mut out = std::io::stdout().lock();
            if json {
                let shown = tokens
                    .iter()
                    .map(|token| serde_json::json!({"name": token.name, "role": token.role, "created": token.created}));
                writeln!(out, "{}", serde_json::Value::from_iter(shown))?;
                return Ok(ExitCode::SUCCESS);
            }
            if tokens.is_empty() {
                writeln!(out, "there are no tokens; make one with: enrgdaq token add NAME --role viewer")?;
            }
            for token in tokens {
                writeln!(out, "{:<24} {:<9} {}", token.name, token.role.name(), token.created)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
