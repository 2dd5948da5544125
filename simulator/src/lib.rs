//! SIMULATED hardware: plays the vendor and the chip.
