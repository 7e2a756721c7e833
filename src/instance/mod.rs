//! Floor 3: exactly one worker. Imports floors 0 to 2, and knows neither the engine nor the reports.

mod declared;
