//! The chunked coding (RFC 9112 §7.1), followed byte by byte, and in whole chunks where they are data.

use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{EMPTY_HEADER, Status};

use super::{Fault, Limits};

/// How far the body of one message has come.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    step: Step,
    /// Of the current chunk: the size read so far, then the data still to come.
    left: u64,
    /// Digits of the current size.
    digits: u8,
    /// Bytes in extensions of this message.
    extensions: usize,
    /// The trailers of this message, with the empty line behind them.
    trailers: Vec<u8>,
    /// How many they are.
    trailer_lines: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// The digits of a size.
    #[default]
    Size,
    /// White space behind the digits: an extension has to follow.
    Padding,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The start of a trailer, or of the empty line that ends the message.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
    Ended,
}

/// `u64` holds no more. Zeros at the front count: whoever pads that far pads for a reason.
const MAX_DIGITS: u8 = 16;
const MAX_EXTENSIONS: usize = 4 * 1024;

impl Chunks {
    /// Passes over what is no data. Tells how many bytes these are, and how many bytes of data come next, which count as passed: none where the
    /// bytes are used up, or the message has ended.
    pub(super) fn follow(&mut self, bytes: &[u8], limits: Limits) -> Result<(usize, usize), Fault> {
        for (passed, byte) in bytes.iter().enumerate() {
            if self.has_ended() {
                return Ok((passed, 0));
            }
            if self.step == Step::Data {
                let rest = bytes.len() - passed;
                let data = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= data as u64;
                if self.left == 0 {
                    self.step = Step::DataCr;
                }
                return Ok((passed, data));
            }
            self.step = self.after(*byte, limits)?;
        }
        Ok((bytes.len(), 0))
    }

    /// The trailers, once the message has ended; `None` where there are none.
    pub(super) fn trailers(&self) -> Result<Option<HeaderMap>, Fault> {
        if self.trailer_lines == 0 {
            return Ok(None);
        }
        let mut lines = vec![EMPTY_HEADER; self.trailer_lines];
        let Ok(Status::Complete((_, lines))) = httparse::parse_headers(&self.trailers, &mut lines) else {
            return Err(Fault::Trailer);
        };
        let mut trailers = HeaderMap::try_with_capacity(lines.len()).map_err(|_| Fault::TrailersTooLarge)?;
        for line in lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Fault::Trailer)?;
            let value = HeaderValue::from_bytes(line.value).map_err(|_| Fault::Trailer)?;
            trailers.try_append(name, value).map_err(|_| Fault::TrailersTooLarge)?;
        }
        Ok(Some(trailers))
    }

    /// Whether the last byte of the message has been seen.
    pub(super) fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    fn after(&mut self, byte: u8, limits: Limits) -> Result<Step, Fault> {
        match (self.step, byte) {
            (Step::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (Step::Size, b'\r') if self.digits > 0 => Ok(Step::SizeLf),
            (Step::Size | Step::Padding, b' ' | b'\t') if self.digits > 0 => self.extended(Step::Padding),
            (Step::Size | Step::Padding, b';') if self.digits > 0 => self.extended(Step::Extension),
            (Step::Size | Step::Padding, _) => Err(Fault::ChunkSize),
            (Step::Extension, b'\r') => Ok(Step::SizeLf),
            (Step::Extension, _) if is_of_value(byte) => self.extended(Step::Extension),
            (Step::SizeLf, b'\n') => {
                self.digits = 0;
                Ok(if self.left == 0 { Step::Line } else { Step::Data })
            }
            (Step::Extension | Step::SizeLf, _) => Err(Fault::ChunkSize),
            (Step::DataCr, b'\r') => Ok(Step::DataLf),
            (Step::DataLf, b'\n') => Ok(Step::Size),
            (Step::Data | Step::DataCr | Step::DataLf, _) => Err(Fault::ChunkEnd),
            (Step::Line | Step::Name | Step::Value | Step::ValueLf | Step::EndLf | Step::Ended, _) => {
                self.trailers.push(byte);
                if self.trailers.len() > limits.max_header_bytes {
                    return Err(Fault::TrailersTooLarge);
                }
                self.after_in_trailers(byte, limits)
            }
        }
    }

    fn digit(&mut self, byte: u8) -> Result<Step, Fault> {
        let digit = char::from(byte).to_digit(16).filter(|_| self.digits < MAX_DIGITS).ok_or(Fault::ChunkSize)?;
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(Step::Size)
    }

    fn extended(&mut self, step: Step) -> Result<Step, Fault> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(Fault::ChunkExtensions) } else { Ok(step) }
    }

    fn after_in_trailers(&mut self, byte: u8, limits: Limits) -> Result<Step, Fault> {
        match (self.step, byte) {
            (Step::Line, b'\r') => Ok(Step::EndLf),
            (Step::Line, _) if self.trailer_lines >= limits.max_headers => Err(Fault::TrailersTooLarge),
            (Step::Line, _) if is_of_name(byte) => {
                self.trailer_lines += 1;
                Ok(Step::Name)
            }
            (Step::Name, b':') => Ok(Step::Value),
            (Step::Name, _) if is_of_name(byte) => Ok(Step::Name),
            (Step::Value, b'\r') => Ok(Step::ValueLf),
            (Step::Value, _) if is_of_value(byte) => Ok(Step::Value),
            (Step::ValueLf, b'\n') => Ok(Step::Line),
            (Step::EndLf, b'\n') => Ok(Step::Ended),
            _ => Err(Fault::Trailer),
        }
    }
}

/// tchar (RFC 9110 §5.6.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// field-vchar, SP and HTAB (RFC 9110 §5.5).
fn is_of_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
