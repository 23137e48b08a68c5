//! `enrgdaq keygen`: a key pair for `[cnc.curve]` and `[federation.curve]`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::CliError;
use crate::bus::{Keys, text_of};

pub(super) fn keygen(path: &Path) -> Result<ExitCode, CliError> {
    let keys = Keys::make(path)?;
    let (file, public) = (path.display(), text_of(&keys.public));
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "made {file}: it holds the secret key, for this node alone
public key: {public}

In this node's supervisor.toml, for links to other nodes:
  [federation.curve]
  key_file = \"{name}\"       # relative to the folder of supervisor.toml
  server_key = \"…\"               # only on a leaf: the public key of the hub

For command and control the same in [cnc.curve], where the hub is called server; one file may serve both.

If this is the key of the hub or server, each node that connects to it says:
  server_key = \"{public}\"

If it is that of a node that connects, the hub or server lists it under the node's supervisor_id:
  [federation.curve.clients]       # or [cnc.curve.clients]
  supervisor_id = \"{public}\"
"
    )?;
    Ok(ExitCode::SUCCESS)
}
