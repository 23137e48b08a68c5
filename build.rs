//! Refuses a build on another `zmq-sys` than ours, with the lines that bring ours in.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("DEP_ZMQ_ENRGDAQ").is_some() {
        return;
    }
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/zmq-sys");
    for line in [
        "enrgdaq needs its own zmq-sys: libzmq with CURVE, and no descriptor that leaks into child processes.",
        "Add these lines to the Cargo.toml of your workspace (a patch works only there):",
        "",
        "    [patch.crates-io]",
        &format!("    zmq-sys = {{ path = \"{ours}\" }}"),
        "",
        "and then, as your Cargo.lock may hold another one already: cargo update zmq-sys",
    ] {
        println!("cargo::error={line}");
    }
}
