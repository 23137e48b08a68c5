//! Facts of the links to other nodes.

/// This node is open for links.
pub(crate) enum Federates<'a> {
    Hub { xpub: &'a str, xsub: &'a str, is_encrypted: bool },
    Leaf { xpub: &'a str, xsub: &'a str, is_encrypted: bool },
}

impl Federates<'_> {
    pub(crate) fn emit(self) {
        let with_keys = |is_encrypted| if is_encrypted { ", with keys" } else { "" };
        match self {
            Self::Hub { xpub, xsub, is_encrypted } => {
                tracing::info!("federation: hub, sends at {xpub}, receives at {xsub}{}", with_keys(is_encrypted));
            }
            Self::Leaf { xpub, xsub, is_encrypted } => {
                tracing::info!("federation: leaf, hears {xpub}, sends to {xsub}{}", with_keys(is_encrypted));
            }
        }
    }
}

/// What goes beyond this machine is open to everybody in that network.
pub(crate) struct FederationInsecure;

impl FederationInsecure {
    pub(crate) fn emit(self) {
        tracing::warn!(
            "federation: links go over the network without keys (`insecure = true`): whoever reaches them can read all data, \
             and send data in any leaf's name; `[federation.curve]` closes them"
        );
    }
}
