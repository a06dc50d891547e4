//! The program behind `./think`.

// Without this line the linker would drop every built-in command.
use commands as _;
use framework as _;

fn main() {}
