//! `enrgdaq keygen`: a key pair for `[cnc.curve]`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::CliError;
use crate::bus::{Keys, text_of};

pub(super) fn keygen(path: &Path) -> Result<ExitCode, CliError> {
    let keys = Keys::make(path)?;
    let (file, public) = (path.display(), text_of(&keys.public));
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "made {file}: it holds the secret key, for this node alone
public key: {public}

In this node's supervisor.toml (the file lies relative to its folder):
  [cnc.curve]
  key_file = \"{file}\"
  server_key = \"…\"               # only on a client: the public key of the server

If this is the server's key, each client says:
  server_key = \"{public}\"

If it is a client's, the server's supervisor.toml lists it under the client's supervisor_id:
  [cnc.curve.clients]
  supervisor_id = \"{public}\"
"
    )?;
    Ok(ExitCode::SUCCESS)
}
