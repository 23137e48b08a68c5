//! The program `enrgdaq`: the library, and the job types that ship with it.

#[path = "../jobs/mod.rs"]
mod jobs;

fn main() -> std::process::ExitCode {
    enrgdaq::main(jobs::all())
}
