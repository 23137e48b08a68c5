//! The picture of a sweep: throughput over payload, both logarithmic, and memcpy as a line across.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::error::BenchError;
use super::report::{Report, bytes};

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 640;
const FONT: &str = "sans-serif";
const OURS: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const MEMCPY: RGBColor = RGBColor(0xb0, 0x3a, 0x2e);

/// Draws a PNG.
pub(super) fn draw(path: &Path, reports: &[Report]) -> Result<(), BenchError> {
    let fail = |error: Box<dyn Error>| BenchError::Picture { path: path.to_owned(), why: error.to_string() };
    let pixels = picture(reports).map_err(fail)?;
    write(path, &pixels).map_err(fail)
}

fn write(path: &Path, pixels: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    Ok(writer.finish()?)
}

/// The pixels, three bytes each.
fn picture(reports: &[Report]) -> Result<Vec<u8>, Box<dyn Error>> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font cannot be read")?;
    let mut pixels = vec![0; 3 * (WIDTH * HEIGHT) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        chart(&area, reports)?;
        area.present()?;
    }
    Ok(pixels)
}

fn chart(
    area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
    reports: &[Report],
) -> Result<(), Box<dyn Error>> {
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    let points: Vec<(f64, f64)> = reports.iter().map(|r| (r.payload_bytes as f64, r.mb_per_s.max(0.1))).collect();
    let memcpy = reports.iter().map(|report| report.memcpy_mb_per_s).fold(0.1, f64::max);
    let sizes = decades(points.iter().map(|point| point.0));
    let speeds = decades(points.iter().map(|point| point.1).chain([memcpy]));
    let Some(first) = reports.first() else { return Ok(()) };
    let way = if first.shm { "shared memory" } else { "the bus" };
    let sources = if first.clients == 1 { "1 source".into() } else { format!("{} sources", first.clients) };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("enrgdaq: {sources} over {way} to {}", first.store), (FONT, 24))
        .margin(16)
        .margin_right(40)
        .x_label_area_size(56)
        .y_label_area_size(80)
        .build_cartesian_2d((sizes.0..sizes.1).log_scale(), (speeds.0..speeds.1).log_scale())?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "marks of an axis: 1 to 10⁹")]
    let size = |value: &f64| bytes(value.round() as u64);
    chart
        .configure_mesh()
        .x_desc("payload of a message (bytes)")
        .y_desc("throughput (MB/s, 10⁶ bytes a second)")
        .axis_desc_style((FONT, 18))
        .label_style((FONT, 15))
        .x_label_formatter(&size)
        .y_label_formatter(&|value| format!("{value}"))
        .light_line_style(RGBColor(0xee, 0xee, 0xee))
        .bold_line_style(RGBColor(0xcc, 0xcc, 0xcc))
        .draw()?;
    let key = |color: RGBColor| move |(x, y)| PathElement::new(vec![(x, y), (x + 24, y)], color.stroke_width(3));
    let verified = if first.verified_mb_per_s.is_some() { "every word verified" } else { "not verified" };
    chart
        .draw_series(LineSeries::new(points.iter().copied(), OURS.stroke_width(3)).point_size(4))?
        .label(format!("messages, {verified}"))
        .legend(key(OURS));
    chart
        .draw_series(LineSeries::new([(sizes.0, memcpy), (sizes.1, memcpy)], MEMCPY.stroke_width(2)))?
        .label(format!("memcpy, one thread: {memcpy:.0} MB/s"))
        .legend(key(MEMCPY));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font((FONT, 16))
        .margin(12)
        .draw()?;
    Ok(())
}

/// The powers of ten around these values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::MAX, f64::min).log10().floor();
    let high = values.fold(f64::MIN, f64::max).log10().ceil();
    (10f64.powf(low), 10f64.powf(high.max(low + 1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn axes_go_from_one_power_of_ten_to_another() {
        assert_eq!(decades([96.0, 8e6].into_iter()), (10.0, 1e7));
        assert_eq!(decades([100.0].into_iter()), (100.0, 1000.0));
    }

    #[test]
    fn a_sweep_becomes_a_picture_with_both_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let reports = [6, 1000, 500_000].map(|rows: u64| report(&format!("--payload-size {rows}"), 0.0));

        draw(&path, &reports).unwrap();

        let mut reader = png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let count =
            |color: RGBColor| pixels.chunks_exact(3).filter(|&pixel| pixel == [color.0, color.1, color.2]).count();
        assert!(count(OURS) > 500 && count(MEMCPY) > 500, "{} {}", count(OURS), count(MEMCPY));
        assert!(count(BLACK) > 200, "text");
        let nowhere = draw(&dir.path().join("no/a.png"), &reports).unwrap_err().to_string();
        assert!(nowhere.contains("a.png"), "{nowhere}");
    }
}
