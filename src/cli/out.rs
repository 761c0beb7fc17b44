//! Where commands print. A reader that has gone away (`svidgate schema | head -1`) ends the reading, not the command: it goes on, and its exit
//! code still says how it went. `println!` would panic there.

use std::io::{self, ErrorKind, Write};

/// Standard output.
pub(super) fn out() -> Out<io::Stdout> {
    Out(io::stdout())
}

/// Standard error, for what a command says of itself.
pub(super) fn err() -> Out<io::Stderr> {
    Out(io::stderr())
}

/// A stream that may lose its reader; what is written after that is lost, and is no error.
pub(super) struct Out<W>(W);

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}
