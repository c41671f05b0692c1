// A service that logs over HTTP, compiled once against `opentelemetry_otlp` and once against this crate: see `swap.rs`.

/// An exporter that is configured in code.
pub fn in_code(endpoint: &str, json: bool) -> LogExporter {
    LogExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_protocol(if json { Protocol::HttpJson } else { Protocol::HttpBinary })
        .with_timeout(Duration::from_secs(30))
        .with_headers(HashMap::from([("x-api-key".to_owned(), "secret".to_owned())]))
        .with_compression(Compression::Gzip)
        .build()
        .expect("an exporter")
}

/// An exporter that is configured by its environment.
pub fn from_environment() -> LogExporter {
    LogExporter::builder().with_http().build().expect("an exporter")
}

pub fn run(exporter: LogExporter) {
    let resource = Resource::builder_empty()
        .with_schema_url([KeyValue::new("service.name", "shop"), KeyValue::new("shards", 3)], "https://schema/resource")
        .build();
    let provider = SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let scope = InstrumentationScope::builder("shop::orders")
        .with_version("1.2.3")
        .with_schema_url("https://schema/scope")
        .with_attributes([KeyValue::new("team", "checkout")])
        .build();
    let logger = provider.logger_with_scope(scope);

    let mut record = logger.create_log_record();
    record.set_event_name("order.taken");
    record.set_timestamp(UNIX_EPOCH + Duration::from_nanos(1_610_393_068_365_492_017));
    record.set_observed_timestamp(UNIX_EPOCH + Duration::from_secs(1_610_393_069));
    record.set_severity_number(Severity::Warn2);
    record.set_severity_text("WARN");
    record.set_body("order taken".into());
    record.set_trace_context(
        TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
        SpanId::from(0x00f0_67aa_0ba9_02b7),
        Some(TraceFlags::SAMPLED),
    );
    record.add_attribute("text", "Zürich \"\n");
    record.add_attribute("int", i64::MIN);
    record.add_attribute("double", 0.1);
    record.add_attribute("bool", true);
    record.add_attribute("bytes", AnyValue::Bytes(Box::new(vec![0, 255, 7])));
    let inner = HashMap::from([(Key::new("inner"), AnyValue::from(1))]);
    record.add_attribute("list", AnyValue::ListAny(Box::new(vec![1.into(), "two".into(), AnyValue::Map(Box::new(inner))])));
    logger.emit(record);

    let other = provider.logger("other");
    let mut record = other.create_log_record();
    record.set_target("shop::payments");
    record.set_observed_timestamp(UNIX_EPOCH + Duration::from_secs(1));
    record.set_body(AnyValue::ListAny(Box::new(vec![1.into(), 2.into()])));
    other.emit(record);

    provider.shutdown().expect("all is sent");
}
