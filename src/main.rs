fn main() -> std::process::ExitCode {
    sie_dns_sensor::main()
}
