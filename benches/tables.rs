//! How long a table takes: laid out in place, encoded by arrow, read in place, decoded with a copy; against a copy of its
//! bytes.
//!
//! `cargo bench --bench tables`; microseconds each, median of several rounds.

use std::hint::black_box;
use std::time::Instant;

use enrgdaq::job::Table;
use enrgdaq::message::{AlignedBytes, TableShape, decode_table, encode_table, table_in_place};

const ROUNDS: usize = 15;
const TIMES: u32 = 200;
const ROWS: usize = 10_000;

fn main() {
    let shape = TableShape::new().column::<f64>("timestamp").column::<f64>("value");
    let frame = shape.frame(ROWS);
    let mut room = AlignedBytes::zeroed(frame.len());
    let numbers = vec![0.5f64; ROWS];
    let table = || Table::new().column("timestamp", numbers.clone()).column("value", numbers.clone()).build();
    let table = table().expect("it is a table");
    let bytes = encode_table(&table).expect("it can be encoded").bytes;
    let owned = bytes::Bytes::from(bytes.clone());
    println!("{ROWS} rows of two float64 columns, {} bytes", bytes.len());

    let mut target = bytes.clone();
    let copy = measure(|| target.copy_from_slice(black_box(&bytes)));
    report("memcpy", copy, copy);
    let filled = measure(|| {
        let mut columns = frame.lay_out(room.as_mut_slice());
        columns.next::<f64>().copy_from_slice(black_box(&numbers));
        columns.next::<f64>().copy_from_slice(black_box(&numbers));
    });
    report("lay out and fill", filled, copy);
    report("encode", measure(|| drop(black_box(encode_table(black_box(&table))))), copy);
    report("read in place", measure(|| drop(black_box(table_in_place(owned.clone())))), copy);
    report("decode", measure(|| drop(black_box(decode_table(black_box(&bytes))))), copy);
}

/// Microseconds that something takes.
fn measure(mut what: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            (0..TIMES).for_each(|_| what());
            begin.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn report(what: &str, us: f64, copy: f64) {
    println!("{what:<18}{us:>9.2} µs  {:>6.2} × memcpy", us / copy);
}
