//! Pictures of guests' screens that dom0's jobs show as lines of hexadecimal digits, kept as PNG in `target/pictures/`.

use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use xenolith_tests::places;

/// What begins and ends a picture on the console; its name stands between it and the word.
const MARK: &str = "| PICTURE ";

/// A picture of 8 bits each for red, green and blue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Picture {
    name: String,
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// Keeps every picture that stands on this console, and returns where.
///
/// **Errors:** one came damaged, or is of one colour all over; a file cannot be written.
pub fn keep(console: &str) -> Result<Vec<PathBuf>> {
    let place = places::target().join("pictures");
    fs::create_dir_all(&place).context("cannot make the directory of pictures")?;
    let kept = pictures(console)?.into_iter().map(|picture| {
        let file = place.join(format!("{}.png", picture.name));
        picture.write(File::create(&file).with_context(|| format!("cannot write {}", file.display()))?)?;
        Ok(file)
    });
    kept.collect()
}

fn pictures(console: &str) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    let mut lines = console.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix(MARK).and_then(|rest| rest.trim_end().strip_suffix(" begins")) else {
            continue;
        };
        let packed: Vec<u8> =
            lines.by_ref().take_while(|line| !line.starts_with(MARK)).filter_map(bytes).flatten().collect();
        pictures.push(unpack(name, &packed).with_context(|| format!("the picture {name} came damaged"))?);
    }
    Ok(pictures)
}

/// Returns the bytes of a line of digits; nothing for what others say meanwhile.
fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits = line.strip_prefix("| ")?.split_whitespace();
    digits.map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2)).collect()
}

/// Unpacks a picture in the form PPM. **Source:** the manual page ppm(5) of Netpbm.
fn unpack(name: &str, packed: &[u8]) -> Result<Picture> {
    let mut form = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut form).context("it cannot be unpacked")?;
    let mut parts = form.splitn(4, |&byte| byte == b'\n');
    let mut line = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).context("it has no beginning");
    let (kind, size, depth) = (line()?, line()?, line()?);
    let (width, height) = size.split_once(' ').context("it has no size")?;
    let (width, height) = (width.parse().context("its width")?, height.parse().context("its height")?);
    let pixels = parts.next().context("it has no pixels")?.to_vec();
    if (kind, depth) != ("P6", "255") || pixels.len() as u64 != 3 * u64::from(width) * u64::from(height) {
        bail!("a PPM of kind {kind}, depth {depth}, {width} x {height} with {} bytes", pixels.len());
    }
    if pixels.chunks_exact(3).all(|pixel| pixels.starts_with(pixel)) {
        bail!("it is of one colour all over: nothing was on the screen");
    }
    Ok(Picture { name: name.to_owned(), width, height, pixels })
}

impl Picture {
    fn write(&self, to: File) -> Result<()> {
        let mut encoder = png::Encoder::new(BufWriter::new(to), self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().context("cannot write the picture's beginning")?;
        writer.write_image_data(&self.pixels).and_then(|()| writer.finish()).context("cannot write the picture")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Returns what dom0 shows of a picture with these words and pixels, with a line of the hypervisor's in it.
    fn shown(form: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(form).unwrap();
        let packed = encoder.finish().unwrap();
        let line = |bytes: &[u8]| format!("|{}\n", bytes.iter().map(|byte| format!(" {byte:02x}")).collect::<String>());
        let (first, second) = packed.split_at(8);
        format!("x\n| PICTURE a begins\n{}(XEN) be\n{}| PICTURE a ends\n| be\n", line(first), line(second))
    }

    #[test]
    fn a_picture_is_read_among_other_lines() {
        let picture = &pictures(&shown(b"P6\n2 1\n255\n\0\n\xff123")).unwrap()[0];
        let wanted = Picture { name: "a".into(), width: 2, height: 1, pixels: b"\0\n\xff123".to_vec() };
        assert_eq!(*picture, wanted);
        assert_eq!(pictures("| be\n").unwrap(), []);
    }

    #[test]
    fn a_damaged_picture_and_a_blank_screen_are_faults() {
        for form in [&b"P6\n2 1\n255\n12345"[..], b"P5\n2 1\n255\n123456", b"P6\n2 1\n255\nabcabc", b"P6\n"] {
            assert!(pictures(&shown(form)).is_err(), "{}", String::from_utf8_lossy(form));
        }
        assert!(pictures(&shown(b"P6\n2 1\n255\n123456").replace("| 1f", "| 1e")).is_err());
    }

    #[test]
    fn what_is_written_is_the_same_picture() {
        let picture = Picture { name: "a".into(), width: 1, height: 2, pixels: b"abcdef".to_vec() };
        let file = places::target().join("tmp").join(format!("picture-{}.png", std::process::id()));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        picture.write(File::create(&file).unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::BufReader::new(File::open(&file).unwrap())).read_info().unwrap();
        let mut pixels = [0; 6];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, &pixels), (1, 2, b"abcdef"));
        fs::remove_file(file).unwrap();
    }
}
