//! Where the proxies listen, and the keys that open them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::message::Plane;

/// How the bus of a supervisor is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Sockets in this directory, which belongs to the user alone.
    Ipc(PathBuf),
    /// Loopback ports that the kernel chooses, with CURVE keys made for this start.
    Tcp,
}

/// The addresses of all proxies, as a job gets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The control plane.
    pub(crate) control: PlaneEndpoints,
    /// The data plane.
    pub(crate) data: PlaneEndpoints,
    /// Keys, where the bus is carried by TCP.
    pub(crate) curve: Option<Curve>,
}

impl Endpoints {
    /// The addresses of one plane.
    pub(crate) fn plane(&self, plane: Plane) -> &PlaneEndpoints {
        match plane {
            Plane::Control => &self.control,
            Plane::Data => &self.data,
        }
    }
}

/// The two ends of one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaneEndpoints {
    /// Where publishers connect.
    pub(crate) publish: String,
    /// Where readers connect.
    pub(crate) subscribe: String,
}

/// CURVE keys in Z85; whoever has them is in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The proxies' public key.
    pub(crate) server_public: String,
    /// The jobs' public key.
    pub(crate) client_public: String,
    /// The jobs' secret key.
    pub(crate) client_secret: String,
}

impl fmt::Debug for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Curve {{ server_public: {}, .. }}", self.server_public)
    }
}

impl Curve {
    /// Makes a socket a client of the proxies.
    pub(super) fn apply(&self, socket: &zmq::Socket) -> Result<(), zmq::Error> {
        let key = |text: &str| zmq::z85_decode(text).map_err(|_| zmq::Error::EINVAL);
        socket.set_curve_serverkey(&key(&self.server_public)?)?;
        socket.set_curve_publickey(&key(&self.client_public)?)?;
        socket.set_curve_secretkey(&key(&self.client_secret)?)
    }
}
