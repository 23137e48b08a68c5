//! `DAQJobStoreRaw`: bytes into files, as they come.

use enrgdaq::job::Delivery;
use enrgdaq::message::{MessageKind, StoreRaw, StoreRecords, StoreTable};
use enrgdaq::store::files::{Encoded, FileFormat, FileWish, Files, Form};
use enrgdaq::store::{Refused, Store};
use schemars::JsonSchema;
use serde::Deserialize;

/// The job type.
pub(crate) type RawStore = Store<Files<Raw>>;

/// Where bytes go: a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTarget {
    /// The file, relative to the store's `out_dir`. A message's tag is put before the ending: `name_tag.jpg`.
    #[schemars(example = &"frames.bin")]
    file_path: String,
    /// Puts the local date of the message before the name, `2026-11-20_name.jpg`: a new file every day.
    #[serde(default)]
    add_date: bool,
    /// The file holds the newest message only; it is replaced as a whole. `false`: messages follow one another.
    #[serde(default = "yes")]
    overwrite: bool,
    /// Puts the length of each message, or of each record of a pack, before it: 4 bytes, little-endian.
    #[serde(default)]
    lengths: bool,
}

fn yes() -> bool {
    true
}

/// Bytes: those of raw messages and of records as they are, a table as an Arrow IPC stream.
#[derive(Debug)]
pub(crate) struct Raw;

impl FileFormat for Raw {
    const TYPE: &'static str = "DAQJobStoreRaw";
    const BACKEND: &'static str = "raw";
    type Target = RawTarget;

    fn messages() -> Vec<MessageKind> {
        vec![MessageKind::store_raw()]
    }

    fn file(target: &RawTarget) -> FileWish<'_> {
        FileWish { file_path: &target.file_path, ending: "", add_date: target.add_date, overwrite: target.overwrite }
    }

    fn encode(target: &RawTarget, message: &mut Delivery, out: &mut Vec<u8>) -> Result<Encoded, Refused> {
        let rows = append_bytes(message, out, target.lengths)?;
        Ok(Encoded { form: Form { header: Vec::new(), is_compressed: false, has_records: false }, rows })
    }
}

/// How many pieces there were.
fn append_bytes(message: &Delivery, out: &mut Vec<u8>, with_lengths: bool) -> Result<u64, Refused> {
    let mut append = |bytes: &[u8]| {
        if with_lengths {
            let len = u32::try_from(bytes.len());
            let len = len.map_err(|_| Refused::saying("length", "it has over 4 GiB, which four bytes cannot say"))?;
            out.extend_from_slice(&len.to_le_bytes());
        }
        out.extend_from_slice(bytes);
        Ok(())
    };
    let envelope = &message.envelope;
    if envelope.body::<StoreRecords>().is_some() {
        let records = message.records().map_err(|error| Refused::new("records", &error))?;
        let count = records.len() as u64;
        records.into_iter().try_for_each(&mut append)?;
        return Ok(count);
    }
    if envelope.body::<StoreRaw>().is_none() && envelope.body::<StoreTable>().is_none() {
        let why = format!("messages of type {} have no bytes to store", envelope.head.kind);
        return Err(Refused::saying("type", why));
    }
    (0..).map_while(|n| message.payload(n)).try_for_each(append)?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_ipc::reader::StreamReader;
    use enrgdaq::store::conformance::{Subject, check};
    use enrgdaq::store::files::FilesConfig;
    use enrgdaq::store::{Home, Sink};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Subject for Folder {
        type Sink = Files<Raw>;

        fn open(&self) -> Files<Raw> {
            let config: FilesConfig = serde_json::from_value(serde_json::json!({ "out_dir": self.0.path() })).unwrap();
            let home = Home { name: "raw".into(), unique_id: "raw".into(), state_dir: self.0.path().join("state") };
            Files::open(config, &home).unwrap()
        }

        fn target(&self, place: &str) -> RawTarget {
            RawTarget { file_path: place.into(), add_date: false, overwrite: false, lengths: true }
        }

        fn read(&self, place: &str) -> Vec<i64> {
            let bytes = std::fs::read(self.0.path().join(place)).unwrap_or_default();
            let (mut rest, mut numbers) = (bytes.as_slice(), Vec::new());
            while let Some((len, more)) = rest.split_first_chunk() {
                let (table, more) = more.split_at(u32::from_le_bytes(*len) as usize);
                for rows in StreamReader::try_new(table, None).unwrap() {
                    numbers.extend(rows.unwrap().column(0).as_primitive::<Int64Type>().values());
                }
                rest = more;
            }
            numbers
        }
    }

    #[test]
    fn it_conforms() {
        (0..10).for_each(|seed| check(&Folder(tempfile::tempdir().unwrap()), seed));
    }
}
