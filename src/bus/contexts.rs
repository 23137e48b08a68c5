//! A libzmq context a plane: threads, sockets and the end of one plane do not touch the other.

use crate::message::Plane;

/// The contexts of a process; dropping the last clone of one waits until what was published there has left.
#[derive(Clone)]
pub(crate) struct Contexts {
    pub(crate) control: zmq::Context,
    pub(crate) data: zmq::Context,
}

impl Contexts {
    /// New ones.
    pub(crate) fn new() -> Self {
        Self { control: zmq::Context::new(), data: zmq::Context::new() }
    }

    /// That of a plane.
    pub(crate) fn of(&self, plane: Plane) -> &zmq::Context {
        match plane {
            Plane::Control => &self.control,
            Plane::Data => &self.data,
        }
    }
}

impl std::fmt::Debug for Contexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contexts")
    }
}
