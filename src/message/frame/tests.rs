//! Tables written in place are read by arrow as if its own writer had made them.

use std::io::Cursor;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::job::Table;
use crate::message::{decode_table, table_in_place};

fn shape() -> TableShape {
    TableShape::new().column::<f64>("value").column::<i64>("n")
}

fn values(rows: usize) -> Vec<f64> {
    (0..rows).map(|row| row as f64 / 4.0).collect()
}

fn numbers(rows: usize) -> Vec<i64> {
    (0..rows as i64).map(|row| row - 7).collect()
}

/// The shape's table of so many rows, written over bytes that were something else.
fn written(rows: usize) -> AlignedBytes {
    let frame = shape().frame(rows);
    let mut bytes = AlignedBytes::zeroed(frame.len());
    bytes.as_mut_slice().fill(0xa5);
    let mut columns = frame.lay_out(bytes.as_mut_slice());
    let value: &mut [f64] = columns.next();
    let n: &mut [i64] = columns.next();
    value.copy_from_slice(&values(rows));
    n.copy_from_slice(&numbers(rows));
    bytes
}

fn read_by_arrow(bytes: &[u8]) -> RecordBatch {
    let mut batches: Vec<_> = StreamReader::try_new(Cursor::new(bytes), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    batches.remove(0)
}

#[test]
fn a_table_written_in_place_is_the_table_that_a_job_would_build() {
    for rows in [0, 1, 2, 3, 7, 8, 9, 1001] {
        let built = Table::new().column("value", values(rows)).column("n", numbers(rows)).build().unwrap();

        let bytes = written(rows);

        assert_eq!(read_by_arrow(bytes.as_slice()), built);
        assert_eq!(read_by_arrow(bytes.as_slice()).schema(), built.schema());
        assert_eq!(decode_table(bytes.as_slice()).unwrap(), built);
        assert_eq!(table_in_place(Bytes::from_owner(bytes.into_vec())).unwrap(), built);
    }
}

#[test]
fn every_part_begins_at_a_multiple_of_64() {
    for rows in [0, 1, 5, 100, 4096] {
        let frame = shape().frame(rows);

        assert_eq!(frame.head.len() % ALIGNMENT, 0);
        assert!(frame.places.iter().all(|place| place.start % ALIGNMENT == 0 && place.next % ALIGNMENT == 0));
        assert_eq!((frame.len() - END.len()) % ALIGNMENT, 0);
    }
}

#[test]
fn padding_is_zero_whatever_was_there() {
    let frame = shape().frame(3);

    let bytes = written(3);

    let body = &bytes.as_slice()[frame.head.len()..];
    assert_eq!(body[24..64], [0; 40]);
    assert_eq!(body[64 + 24..128], [0; 40]);
}

#[test]
fn values_are_read_where_they_were_written() {
    /// Keeps its place when it is moved.
    struct Held(AlignedBytes);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            self.0.as_slice()
        }
    }
    let bytes = written(100);
    let range = bytes.as_slice().as_ptr_range();

    let table = table_in_place(Bytes::from_owner(Held(bytes))).unwrap();

    let value = table.column(0).as_primitive::<Float64Type>();
    let n = table.column(1).as_primitive::<Int64Type>();
    assert!(range.contains(&value.values().as_ptr().cast()) && range.contains(&n.values().as_ptr().cast()));
    assert_eq!((value.values().as_ref(), n.values().as_ref()), (&values(100)[..], &numbers(100)[..]));
}

#[test]
fn a_frame_serves_any_number_of_tables() {
    let shape = shape();
    let frame = shape.frame(10);

    let again = shape.frame(10);

    assert_eq!((frame.len(), frame.rows(), &frame.head), (again.len(), 10, &again.head));
    assert_ne!(shape.column::<u8>("flag").frame(10).head, frame.head);
}

#[test]
fn rows_that_no_memory_holds_make_a_frame_that_fits_nowhere() {
    assert_eq!(shape().frame(usize::MAX).len(), usize::MAX);
    assert_eq!(TableShape::new().column::<u8>("flag").frame(usize::MAX).len(), usize::MAX);
}

#[test]
#[should_panic(expected = "column `n` of the table is Int64, not Float64")]
fn a_column_of_another_type_is_refused() {
    let frame = shape().frame(1);
    let mut bytes = AlignedBytes::zeroed(frame.len());
    let mut columns = frame.lay_out(bytes.as_mut_slice());
    let _value: &mut [f64] = columns.next();

    let _n: &mut [f64] = columns.next();
}

#[test]
#[should_panic(expected = "no further column")]
fn a_column_too_many_is_refused() {
    let frame = TableShape::new().frame(1);
    let mut bytes = AlignedBytes::zeroed(frame.len());

    let _column: &mut [u8] = frame.lay_out(bytes.as_mut_slice()).next();
}

#[test]
#[should_panic(expected = "too short for a table")]
fn a_payload_that_is_too_short_is_refused() {
    let frame = shape().frame(1);
    let mut bytes = AlignedBytes::zeroed(frame.len() - 1);

    let _columns = frame.lay_out(bytes.as_mut_slice());
}

#[test]
#[should_panic(expected = "the payload must be aligned")]
fn a_payload_that_is_not_aligned_is_refused() {
    let frame = shape().frame(1);
    let mut bytes = AlignedBytes::zeroed(frame.len() + 1);

    let _value: &mut [f64] = frame.lay_out(&mut bytes.as_mut_slice()[1..]).next();
}

/// A type of column, as a law needs it.
#[derive(Debug, Clone, Copy)]
struct Sort {
    add: fn(TableShape, String) -> TableShape,
    fill: fn(&mut Columns<'_>, u8),
    expect: fn(usize, u8) -> ArrayRef,
}

fn sort<P: ArrowPrimitiveType<Native: FixedWidth>>() -> Sort {
    // The bytes of a value differ from row to row, and are no NaN.
    fn value<T: FixedWidth>(row: usize, seed: u8) -> T {
        let byte = seed.wrapping_add(row.to_le_bytes()[0]) & 0x3f;
        bytemuck::pod_read_unaligned(&[byte; 8][..size_of::<T>()])
    }
    Sort {
        add: |shape, name| shape.column::<P::Native>(name),
        fill: |columns, seed| {
            let column: &mut [P::Native] = columns.next();
            column.iter_mut().enumerate().for_each(|(row, place)| *place = value(row, seed));
        },
        expect: |rows, seed| {
            Arc::new(PrimitiveArray::<P>::from_iter_values((0..rows).map(|row| value::<P::Native>(row, seed))))
        },
    }
}

fn sorts() -> impl Strategy<Value = Sort> {
    prop_oneof![
        Just(sort::<Int8Type>()),
        Just(sort::<Int16Type>()),
        Just(sort::<Int32Type>()),
        Just(sort::<Int64Type>()),
        Just(sort::<UInt8Type>()),
        Just(sort::<UInt16Type>()),
        Just(sort::<UInt32Type>()),
        Just(sort::<UInt64Type>()),
        Just(sort::<Float32Type>()),
        Just(sort::<Float64Type>()),
    ]
}

proptest! {
    #[test]
    fn any_shape_of_any_length_is_read_as_it_was_filled(
        columns in vec(("\\PC{0,12}", sorts(), any::<u8>()), 1..40),
        rows in 0..300_usize,
    ) {
        let shape = columns.iter().fold(TableShape::new(), |shape, (name, sort, _)| (sort.add)(shape, name.clone()));
        let expected = columns.iter().map(|(name, sort, seed)| (name, (sort.expect)(rows, *seed), true));
        let expected = RecordBatch::try_from_iter_with_nullable(expected).unwrap();
        let frame = shape.frame(rows);
        let mut bytes = AlignedBytes::zeroed(frame.len());

        let mut places = frame.lay_out(bytes.as_mut_slice());
        columns.iter().for_each(|(_, sort, seed)| (sort.fill)(&mut places, *seed));

        prop_assert_eq!(&read_by_arrow(bytes.as_slice()), &expected);
        prop_assert_eq!(&table_in_place(Bytes::from(bytes.into_vec())).unwrap(), &expected);
    }
}
