"""What several tests share: shapes, tiles, streams made by seed."""
