//! The program `enrgdaq`: the library, and the job types that ship with it. They are compiled here once more, as a part of
//! another crate: so the compiler sees to it that they use only what the library offers to all.

#[path = "../jobs/mod.rs"]
#[expect(unreachable_pub, reason = "the library offers the same module to other programs")]
mod jobs;

fn main() -> std::process::ExitCode {
    enrgdaq::main(jobs::all())
}
