//! Builds libzmq 4.3.5 with CURVE, as `platform.hpp` describes it, and always optimised.
//!
//! `zeromq-src` takes no definitions of ours, and would compile against an empty `platform.hpp`. But it puts the
//! directory of libsodium's headers before that file's in the search path: we hand it a directory of our own there,
//! with our `platform.hpp` and a `sodium.h` that leads on to the real one. `tests/` would notice if that order changed.

#![expect(unsafe_code, reason = "variables of this process are set, while it has one thread")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=platform.hpp");
    // Dependents read this as DEP_ZMQ_ENRGDAQ: it tells our libzmq from the published one.
    println!("cargo::metadata=enrgdaq=1");

    if let Err(reason) = build_libzmq() {
        println!("cargo::error={reason}");
    }
}

/// Compiles libzmq and tells cargo how to link it; the error is what the user must do.
fn build_libzmq() -> Result<(), String> {
    if cargo_variable("CARGO_CFG_TARGET_OS") != "linux" {
        return Err("this libzmq is described for Linux only: its platform.hpp must be adapted first".into());
    }
    settle_flags();
    require_cpp_compiler()?;
    let sodium = sodium()?;
    let headers = stage_headers(sodium.include_dir()).map_err(|e| format!("cannot write libzmq's headers: {e}"))?;

    zeromq_src::Build::new().with_libsodium(Some(zeromq_src::LibLocation::new(sodium.lib_dir(), headers))).build();
    Ok(())
}

/// Makes libzmq the same in every cargo profile: optimised, without debug information (which is twenty times its size),
/// and without warnings, which are not for our user to read. `zeromq-src` leaves all this to the environment.
fn settle_flags() {
    let flags = env::var("CXXFLAGS").unwrap_or_default() + " -w";
    for (name, value) in [("OPT_LEVEL", "3"), ("DEBUG", "false"), ("CXXFLAGS", &flags)] {
        // SAFETY: this is the only thread: `main` has started no other before it came here.
        unsafe { env::set_var(name, value) };
    }
}

/// Without this check the first of a hundred files would fail with a message about itself.
fn require_cpp_compiler() -> Result<(), String> {
    let compiler = cc::Build::new().cpp(true).cargo_output(false).get_compiler();
    let answers = Command::new(compiler.path()).arg("--version").output();

    match answers {
        Ok(answer) if answer.status.success() => Ok(()),
        _ => Err(format!(
            "libzmq needs a C++ compiler, and `{}` does not run: install one (Debian, Ubuntu: `apt install g++ make`; \
             Fedora, Alma: `dnf install gcc-c++ make`), or name yours in the variable CXX",
            compiler.path().display()
        )),
    }
}

/// Where libsodium's build script left its headers and library.
fn sodium() -> Result<zeromq_src::LibLocation, String> {
    let place = |name: &str| {
        env::var_os(name).map(PathBuf::from).ok_or_else(|| {
            "libsodium must be built from source here: unset SODIUM_LIB_DIR and SODIUM_USE_PKG_CONFIG".to_string()
        })
    };
    Ok(zeromq_src::LibLocation::new(place("DEP_SODIUM_LIB")?, place("DEP_SODIUM_INCLUDE")?))
}

/// A directory with the two headers that libzmq shall find first; see the top of this file.
fn stage_headers(sodium_include: &Path) -> io::Result<PathBuf> {
    let headers = PathBuf::from(cargo_variable("OUT_DIR")).join("headers");
    fs::create_dir_all(&headers)?;
    fs::copy("platform.hpp", headers.join("platform.hpp"))?;
    let real = sodium_include.join("sodium.h");
    fs::write(headers.join("sodium.h"), format!("#include \"{}\"\n", real.display()))?;
    Ok(headers)
}

fn cargo_variable(name: &str) -> String {
    env::var(name).expect("cargo sets it for every build script")
}
