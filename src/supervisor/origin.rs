//! Where a supervisor's configuration comes from, at its start and at every reload.

use std::path::PathBuf;

use crate::config::{self, Catalog, Deployment, Overrides, Report, SupervisorConfig};

/// A folder, and what stands for its `supervisor.toml` where the program brings its own.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) dir: PathBuf,
    pub(super) catalog: Catalog,
    pub(super) own: Option<SupervisorConfig>,
}

impl Origin {
    /// The supervisor's own configuration.
    ///
    /// # Errors
    /// All faults of the folder, if that file has one.
    pub(super) fn supervisor(&self) -> Result<SupervisorConfig, Report> {
        match &self.own {
            Some(own) => Ok(own.clone()),
            None => match config::load_supervisor(&self.dir) {
                Ok((config, _)) => Ok(config),
                Err(report) => Err(self.load(&Overrides::default()).err().unwrap_or(report)),
            },
        }
    }

    /// All of it, with what the operator wants otherwise.
    ///
    /// # Errors
    /// All faults of the folder.
    pub(super) fn load(&self, overrides: &Overrides) -> Result<Deployment, Report> {
        match &self.own {
            Some(own) => config::load_for(own.clone(), &self.dir, &self.catalog, overrides),
            None => config::load_with(&self.dir, &self.catalog, overrides),
        }
    }
}
