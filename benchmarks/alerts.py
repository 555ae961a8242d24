from alerts.anomaly_findings import Anomaly
def fingerprint(a: Anomaly) -> str:
    family="departure" if a.pattern=="drift" else a.pattern
    return f"anomaly/{a.device or ''}/{a.kind if not a.device else ''}/{a.district if not a.device else ''}/{family}"
